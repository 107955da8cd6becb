package az

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"lapis/cli/cloud"
)

const accountType = "Microsoft.Storage/storageAccounts"

func storageBranch() branch {
	optionalGroup := groupArg()
	optionalGroup.required = false
	name := nameArg("The storage account name.")
	account := kind{versionStorage, flatten}
	keysName := arg{names: "--account-name -n", help: "The storage account name.", required: true}
	return branch{name: "storage", help: "Manage Azure Cloud Storage resources.", branches: []branch{
		{name: "account", help: "Manage storage accounts.",
			branches: []branch{{name: "keys", help: "Manage storage account keys.", commands: []command{
				{name: "list", help: "List the access keys of a storage account.", run: accountKeys, args: []arg{keysName, optionalGroup}},
			}}},
			commands: []command{
				{name: "create", help: "Create a storage account.", run: storageCreate, example: "az storage account create --name NAME --location LOCATION",
					args: []arg{name, groupArg(), locationArg(), tagsArg(),
						{names: "--sku", help: "The storage account SKU.", value: "Standard_RAGRS"},
						{names: "--kind", help: "Type of storage account.", value: "StorageV2", choices: []string{"BlobStorage", "BlockBlobStorage", "FileStorage", "Storage", "StorageV2"}},
						{names: "--access-tier", help: "The access tier.", choices: []string{"Cold", "Cool", "Hot", "Premium"}},
						{names: "--https-only", help: "Allow https traffic only.", kind: truth},
						{names: "--allow-blob-public-access", help: "Allow public access to blobs.", kind: truth},
						{names: "--allow-shared-key-access", help: "Allow requests signed with an account key.", kind: truth},
						{names: "--min-tls-version", help: "The minimum TLS version.", choices: []string{"TLS1_0", "TLS1_1", "TLS1_2", "TLS1_3"}}}},
				{name: "show", help: "Show a storage account.", run: storageShow, args: []arg{name, optionalGroup}},
				{name: "list", help: "List storage accounts.", run: account.list(allOf(accountType)), args: []arg{optionalGroup}},
				{name: "delete", help: "Delete a storage account, with all that is in it.", run: storageDelete, args: []arg{name, optionalGroup, yesArg()}},
			}},
		containerBranch(), blobBranch(),
	}}
}

func storageCreate(ctx context.Context, c *Call) (any, error) {
	s, path, err := inGroup(accountType)(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := c.checkName(ctx, s, path); err != nil {
		return nil, err
	}
	location, err := c.location(ctx, s)
	if err != nil {
		return nil, err
	}
	props := object{}
	for key, property := range map[string]string{"https-only": "supportsHttpsTrafficOnly", "allow-blob-public-access": "allowBlobPublicAccess", "allow-shared-key-access": "allowSharedKeyAccess"} {
		if c.given(key) {
			props[property] = c.on(key)
		}
	}
	for key, property := range map[string]string{"access-tier": "accessTier", "min-tls-version": "minimumTlsVersion"} {
		if c.given(key) {
			props[property] = c.str(key)
		}
	}
	body := object{"sku": object{"name": c.str("sku")}, "kind": c.str("kind"), "location": location, "properties": props}
	if err := c.putTags(body); err != nil {
		return nil, err
	}
	account, err := c.follow(ctx, s, cloud.Request{Method: http.MethodPut, Path: path, Version: versionStorage, Body: body}, "creating "+c.str("name"))
	if err != nil {
		return nil, err
	}
	return flatten(account), nil
}

// checkName asks whether the name is free. A name that the user's own group
// has already is an update.
func (c *Call) checkName(ctx context.Context, s *cloud.Session, path string) error {
	sub, err := c.subscription(ctx)
	if err != nil {
		return err
	}
	reply, err := s.Call(ctx, cloud.Request{Method: http.MethodPost, Version: versionStorage,
		Path: subscriptionPath(sub) + "/providers/Microsoft.Storage/checkNameAvailability",
		Body: object{"name": c.str("name"), "type": accountType}})
	if err != nil {
		return err
	}
	answer := reply.Object()
	if free, ok := answer["nameAvailable"].(bool); !ok || free {
		return nil
	}
	if text(answer, "reason") == "AlreadyExists" {
		if _, err := s.Get(ctx, path, versionStorage); err == nil {
			c.note("a storage account named %s is there already; it is updated", c.str("name"))
			return nil
		}
	}
	return &cloud.Failure{Code: "StorageAccount" + text(answer, "reason"), Message: text(answer, "message"), Target: "--name"}
}

// findAccount returns a storage account's resource, from the given group or by
// its name, which no other account has.
func (c *Call) findAccount(ctx context.Context, name, group string) (object, error) {
	s, sub, err := c.inSubscription(ctx)
	if err != nil {
		return nil, err
	}
	if group != "" {
		return s.Get(ctx, providerPath(sub, group, accountType, name), versionStorage)
	}
	list, err := s.List(ctx, subscriptionPath(sub)+"/providers/"+accountType, versionStorage, nil)
	if err != nil {
		return nil, err
	}
	for _, item := range list {
		if account, ok := item.(object); ok && strings.EqualFold(text(account, "name"), name) {
			return account, nil
		}
	}
	return nil, &cloud.Failure{Status: http.StatusNotFound, Code: "ResourceNotFound", Message: fmt.Sprintf("the storage account %q was not found in subscription %s", name, sub)}
}

func storageShow(ctx context.Context, c *Call) (any, error) {
	account, err := c.findAccount(ctx, c.str("name"), c.str("resource-group"))
	if err != nil {
		return nil, err
	}
	return flatten(account), nil
}

func storageDelete(ctx context.Context, c *Call) (any, error) {
	if err := c.confirm("Are you sure you want to delete the storage account " + c.str("name") + "?"); err != nil {
		return nil, err
	}
	s, path, err := inGroup(accountType)(ctx, c)
	if err != nil {
		return nil, err
	}
	if c.str("resource-group") == "" {
		account, err := c.findAccount(ctx, c.str("name"), "")
		if err != nil {
			return nil, err
		}
		path = text(account, "id")
	}
	return nil, remove(ctx, s, path, versionStorage)
}

func accountKeys(ctx context.Context, c *Call) (any, error) {
	s, err := c.Session()
	if err != nil {
		return nil, err
	}
	account, err := c.findAccount(ctx, c.str("account-name"), c.str("resource-group"))
	if err != nil {
		return nil, err
	}
	return listKeys(ctx, s, text(account, "id"))
}

func listKeys(ctx context.Context, s *cloud.Session, id string) ([]any, error) {
	reply, err := s.Call(ctx, cloud.Request{Method: http.MethodPost, Path: id + "/listKeys", Version: versionStorage, Query: url.Values{"$expand": {"kerb"}}})
	if err != nil {
		return nil, err
	}
	keys, _ := reply.Object()["keys"].([]any)
	return keys, nil
}
