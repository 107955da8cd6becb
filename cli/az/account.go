package az

import (
	"context"
	"fmt"
	"strings"

	"lapis/cli/cloud"
)

func accountBranch() branch {
	return branch{name: "account", help: "Manage Azure subscription information.", commands: []command{
		{name: "show", help: "Get the details of the subscription in use.", run: accountShow,
			args: []arg{{names: "--name -n", hidden: true}}},
		{name: "list", help: "Get a list of subscriptions.", run: accountList,
			args: []arg{{names: "--all", help: "List all, not only the enabled ones.", kind: flag}, {names: "--refresh", kind: flag, hidden: true}}},
		{name: "set", help: "Set a subscription to be the current one.", run: accountSet, example: "az account set --subscription ID",
			args: []arg{{names: "--name -n --subscription -s", help: "Name or id of the subscription.", required: true}}},
		{name: "get-access-token", help: "Get a token for a client to access Azure.", run: accessToken, args: []arg{
			{names: "--resource", help: "Resource for which the token is."},
			{names: "--scope", help: "Scopes in place of --resource, parted by spaces.", kind: many},
			{names: "--resource-type", help: "Well-known resource.", choices: []string{"arm", "ms-graph", "aad-graph", "batch", "data-lake", "media", "oss-rdbms"}},
			{names: "--tenant -t", help: "Tenant."},
			{names: "--name -n", hidden: true},
		}},
	}}
}

// showSubscription draws a subscription as az does.
func showSubscription(s *cloud.Session, sub object) object {
	id := text(sub, "subscriptionId")
	tenant := text(sub, "tenantId")
	if tenant == "" {
		tenant = s.Credential.Tenant
	}
	managed, _ := sub["managedByTenants"].([]any)
	return object{
		"environmentName": "AzureCloud", "homeTenantId": tenant, "id": id,
		"isDefault": strings.EqualFold(id, s.Subscription), "managedByTenants": append([]any{}, managed...),
		"name": text(sub, "displayName"), "state": text(sub, "state"), "tenantId": tenant,
		"user": object{"name": s.Credential.ClientID, "type": "servicePrincipal"},
	}
}

func findSubscription(ctx context.Context, s *cloud.Session, wanted string) (object, error) {
	list, err := s.List(ctx, "/subscriptions", versionSubscriptions, nil)
	if err != nil {
		return nil, err
	}
	for _, item := range list {
		if sub, ok := item.(object); ok && (strings.EqualFold(text(sub, "subscriptionId"), wanted) || strings.EqualFold(text(sub, "displayName"), wanted)) {
			return sub, nil
		}
	}
	return nil, hinted(fmt.Errorf("the subscription of %q doesn't exist in cloud 'AzureCloud', or %s may not see it", wanted, s.Credential.ClientID),
		"az account list -o table shows those that there are")
}

func accountShow(ctx context.Context, c *Call) (any, error) {
	id, err := c.subscription(ctx)
	if err != nil {
		return nil, err
	}
	s, err := c.Session()
	if err != nil {
		return nil, err
	}
	sub, err := findSubscription(ctx, s, id)
	if err != nil {
		return nil, err
	}
	return showSubscription(s, sub), nil
}

func accountList(ctx context.Context, c *Call) (any, error) {
	s, err := c.Session()
	if err != nil {
		return nil, err
	}
	list, err := s.List(ctx, "/subscriptions", versionSubscriptions, nil)
	if err != nil {
		return nil, err
	}
	return each(list, func(sub object) object { return showSubscription(s, sub) }), nil
}

func accountSet(ctx context.Context, c *Call) (any, error) {
	s, err := c.Session()
	if err != nil {
		return nil, err
	}
	sub, err := findSubscription(ctx, s, c.str("name"))
	if err != nil {
		return nil, err
	}
	return nil, s.RememberSubscription(text(sub, "subscriptionId"))
}

func accessToken(ctx context.Context, c *Call) (any, error) {
	s, err := c.Session()
	if err != nil {
		return nil, err
	}
	if tenant := c.str("tenant"); tenant != "" && !strings.EqualFold(tenant, s.Credential.Tenant) {
		return nil, fmt.Errorf("the signed-in principal is of tenant %s, not of %s; please run az login for that one", s.Credential.Tenant, tenant)
	}
	token, err := s.Token(ctx, audience(c))
	if err != nil {
		return nil, err
	}
	result := object{
		"accessToken": token.Access, "expiresOn": localTime(token.Expires), "expires_on": token.Expires.Unix(),
		"tenant": s.Credential.Tenant, "tokenType": "Bearer",
	}
	if c.str("tenant") == "" {
		result["subscription"], err = c.subscription(ctx)
	}
	return result, err
}

func audience(c *Call) string {
	if scopes := c.list("scope"); len(scopes) > 0 {
		return strings.TrimSuffix(strings.TrimSuffix(scopes[0], ".default"), "/")
	}
	if resource := c.str("resource"); resource != "" {
		return resource
	}
	if c.str("resource-type") == "ms-graph" {
		return cloud.AudienceGraph
	}
	return cloud.AudienceARM
}

func loginCommand() command {
	return command{name: "login", help: "Log in to Azure as a service principal.", run: login,
		example: "az login --service-principal -u CLIENT_ID -p SECRET --tenant TENANT",
		args: []arg{
			{names: "--service-principal", help: "Log in with a service principal.", kind: flag},
			{names: "--username -u", help: "Client id of the service principal."},
			{names: "--password -p", help: "Its secret. Better: leave it out, and give it on stdin."},
			{names: "--tenant -t", help: "Tenant id or domain."},
			{names: "--identity -i", kind: flag, hidden: true},
			{names: "--allow-no-subscriptions", kind: flag, hidden: true},
		}}
}

func login(ctx context.Context, c *Call) (any, error) {
	s, err := c.Session()
	if err != nil {
		return nil, err
	}
	if !c.on("service-principal") && c.str("username") == "" {
		c.note("already signed in as %s by the variables of lapis env; to be another, use --service-principal", s.Credential.ClientID)
		return accountList(ctx, c)
	}
	credential := cloud.Credential{Tenant: c.str("tenant"), ClientID: c.str("username"), Secret: c.str("password")}
	if credential.Tenant == "" {
		credential.Tenant = s.Credential.Tenant
	}
	if credential.ClientID == "" {
		return nil, usage("the following arguments are required: --username/-u")
	}
	if credential.Secret == "" {
		if c.Terminal.In {
			fmt.Fprint(c.Stderr, "Secret: ")
		}
		fmt.Fscanln(c.Stdin, &credential.Secret)
	}
	if err := s.SignIn(ctx, credential); err != nil {
		return nil, err
	}
	if err := s.RememberLogin(credential); err != nil {
		return nil, err
	}
	return accountList(ctx, c)
}

func logoutCommand() command {
	return command{name: "logout", help: "Log out.", args: []arg{{names: "--username", hidden: true}}, run: func(_ context.Context, c *Call) (any, error) {
		s, err := c.settings()
		if err != nil {
			return nil, err
		}
		return nil, s.Forget()
	}}
}
