package az

import (
	"context"
	"errors"
	"net/http"

	"lapis/cli/cloud"
)

func groupBranch() branch {
	name := arg{names: "--name --resource-group -n -g", help: "Name of the resource group.", required: true, from: "group"}
	group := kind{versionGroups, func(o object) object { return o }}
	return branch{name: "group", help: "Manage resource groups.", commands: []command{
		{name: "create", help: "Create a resource group.", run: groupCreate, args: []arg{name, {names: "--location -l", help: "Location.", required: true, from: "location"}, tagsArg()}},
		{name: "show", help: "Get a resource group.", run: group.show(groupAt("name")), args: []arg{name}},
		{name: "list", help: "List resource groups.", run: group.list(allGroups), args: []arg{{names: "--tag", hidden: true}}},
		{name: "exists", help: "Check if a resource group exists.", run: groupExists, args: []arg{name}},
		{name: "delete", help: "Delete a resource group, with all that is in it.", run: group.delete(groupAt("name"), "the resource group %s and all in it"),
			args: []arg{{names: name.names, help: name.help, required: true}, yesArg(), noWaitArg()}},
	}}
}

// groupAt is the group that an argument names.
func groupAt(key string) place {
	return func(ctx context.Context, c *Call) (*cloud.Session, string, error) {
		s, sub, err := c.inSubscription(ctx)
		return s, groupPath(sub, c.str(key)), err
	}
}

func allGroups(ctx context.Context, c *Call) (*cloud.Session, string, error) {
	s, sub, err := c.inSubscription(ctx)
	return s, subscriptionPath(sub) + "/resourceGroups", err
}

func groupCreate(ctx context.Context, c *Call) (any, error) {
	s, path, err := groupAt("name")(ctx, c)
	if err != nil {
		return nil, err
	}
	body := object{"location": c.str("location")}
	if err := c.putTags(body); err != nil {
		return nil, err
	}
	reply, err := s.Call(ctx, cloud.Request{Method: http.MethodPut, Path: path, Version: versionGroups, Body: body})
	if err != nil {
		return nil, err
	}
	return reply.Body, nil
}

func groupExists(ctx context.Context, c *Call) (any, error) {
	s, path, err := groupAt("name")(ctx, c)
	if err != nil {
		return nil, err
	}
	_, err = s.Call(ctx, cloud.Request{Method: http.MethodHead, Path: path, Version: versionGroups})
	if cloud.IsNotFound(err) {
		return false, nil
	}
	return true, err
}

// finish sends a request that gives no result and follows its operation, but
// for --no-wait.
func (c *Call) finish(ctx context.Context, s *cloud.Session, r cloud.Request, title string) error {
	_, err := c.follow(ctx, s, r, title)
	return err
}

// follow sends a request and waits for the end of its operation, but for
// --no-wait. The result is the resource as it then is.
func (c *Call) follow(ctx context.Context, s *cloud.Session, r cloud.Request, title string) (object, error) {
	reply, err := s.Call(ctx, r)
	if err != nil {
		return nil, err
	}
	if c.on("no-wait") {
		return reply.Object(), nil
	}
	p := c.progress(title)
	defer p.end()
	return s.Wait(ctx, reply, p.say)
}

// remove deletes what may already be gone.
func remove(ctx context.Context, s *cloud.Session, path, version string) error {
	_, err := s.Call(ctx, cloud.Request{Method: http.MethodDelete, Path: path, Version: version})
	var f *cloud.Failure
	if errors.As(err, &f) && f.Status == http.StatusNotFound && f.Code == "ResourceNotFound" {
		return nil
	}
	return err
}
