package az

import (
	"context"
	"net/http"

	"lapis/cli/cloud"
	"lapis/cli/setting"
)

const identityType = "Microsoft.ManagedIdentity/userAssignedIdentities"

func identityBranch() branch {
	optionalGroup := groupArg()
	optionalGroup.required = false
	return branch{name: "identity", help: "Manage managed identities.", commands: []command{
		{name: "create", help: "Create a user-assigned identity.", run: identityCreate, args: []arg{nameArg("Name of the identity."), groupArg(), locationArg(), tagsArg()}},
		{name: "show", help: "Get a user-assigned identity.", run: identityShow, args: []arg{nameArg("Name of the identity."), groupArg()}},
		{name: "list", help: "List user-assigned identities.", run: identityList, args: []arg{optionalGroup}},
		{name: "delete", help: "Delete a user-assigned identity.", run: identityDelete, args: []arg{nameArg("Name of the identity."), groupArg()}},
	}}
}

// resourceAt returns the session and the path of the resource of a type that
// --name names in --resource-group.
func (c *Call) resourceAt(ctx context.Context, typ string) (*cloud.Session, string, error) {
	s, err := c.Session()
	if err != nil {
		return nil, "", err
	}
	sub, err := c.subscription(ctx)
	return s, providerPath(sub, c.str("resource-group"), typ, c.str("name")), err
}

// location is --location, else the resource group's.
func (c *Call) location(ctx context.Context, s *cloud.Session) (string, error) {
	if l := c.str("location"); l != "" {
		return l, nil
	}
	_, path, err := c.groupAt(ctx, "resource-group")
	if err != nil {
		return "", err
	}
	group, err := s.Get(ctx, path, versionGroups)
	return text(group, "location"), err
}

func identityCreate(ctx context.Context, c *Call) (any, error) {
	s, path, err := c.resourceAt(ctx, identityType)
	if err != nil {
		return nil, err
	}
	location, err := c.location(ctx, s)
	if err != nil {
		return nil, err
	}
	body := object{"location": location}
	if c.given("tags") {
		if body["tags"], err = setting.Pairs(c.list("tags")); err != nil {
			return nil, usage("argument --tags: %v", err)
		}
	}
	reply, err := s.Call(ctx, cloud.Request{Method: http.MethodPut, Path: path, Version: versionIdentity, Body: body})
	if err != nil {
		return nil, err
	}
	return flatten(reply.Object()), nil
}

func identityShow(ctx context.Context, c *Call) (any, error) {
	s, path, err := c.resourceAt(ctx, identityType)
	if err != nil {
		return nil, err
	}
	identity, err := s.Get(ctx, path, versionIdentity)
	if err != nil {
		return nil, err
	}
	return flatten(identity), nil
}

func identityList(ctx context.Context, c *Call) (any, error) {
	s, err := c.Session()
	if err != nil {
		return nil, err
	}
	sub, err := c.subscription(ctx)
	if err != nil {
		return nil, err
	}
	scope := subscriptionPath(sub)
	if group := c.str("resource-group"); group != "" {
		scope = groupPath(sub, group)
	}
	list, err := s.List(ctx, scope+"/providers/"+identityType, versionIdentity, nil)
	if err != nil {
		return nil, err
	}
	return each(list, flatten), nil
}

func identityDelete(ctx context.Context, c *Call) (any, error) {
	s, path, err := c.resourceAt(ctx, identityType)
	if err != nil {
		return nil, err
	}
	return nil, remove(ctx, s, path, versionIdentity)
}
