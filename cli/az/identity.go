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
	identity := kind{versionIdentity, flatten}
	return branch{name: "identity", help: "Manage managed identities.", commands: []command{
		{name: "create", help: "Create a user-assigned identity.", run: identityCreate, args: []arg{nameArg("Name of the identity."), groupArg(), locationArg(), tagsArg()}},
		{name: "show", help: "Get a user-assigned identity.", run: identity.show(inGroup(identityType)), args: []arg{nameArg("Name of the identity."), groupArg()}},
		{name: "list", help: "List user-assigned identities.", run: identity.list(allOf(identityType)), args: []arg{optionalGroup}},
		{name: "delete", help: "Delete a user-assigned identity.", run: identityDelete, args: []arg{nameArg("Name of the identity."), groupArg()}},
	}}
}

// putTags puts --tags into a body.
func (c *Call) putTags(body object) error {
	if !c.given("tags") {
		return nil
	}
	tags, err := setting.Pairs(c.list("tags"))
	if err != nil {
		return usage("argument --tags: %v", err)
	}
	body["tags"] = tags
	return nil
}

// location is --location, else the resource group's.
func (c *Call) location(ctx context.Context, s *cloud.Session) (string, error) {
	if l := c.str("location"); l != "" {
		return l, nil
	}
	_, path, err := groupAt("resource-group")(ctx, c)
	if err != nil {
		return "", err
	}
	group, err := s.Get(ctx, path, versionGroups)
	return text(group, "location"), err
}

func identityCreate(ctx context.Context, c *Call) (any, error) {
	s, path, err := inGroup(identityType)(ctx, c)
	if err != nil {
		return nil, err
	}
	location, err := c.location(ctx, s)
	if err != nil {
		return nil, err
	}
	body := object{"location": location}
	if err := c.putTags(body); err != nil {
		return nil, err
	}
	reply, err := s.Call(ctx, cloud.Request{Method: http.MethodPut, Path: path, Version: versionIdentity, Body: body})
	if err != nil {
		return nil, err
	}
	return flatten(reply.Object()), nil
}

func identityDelete(ctx context.Context, c *Call) (any, error) {
	s, path, err := inGroup(identityType)(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, remove(ctx, s, path, versionIdentity)
}
