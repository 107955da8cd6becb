package az

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"

	"lapis/armid"
	"lapis/cli/cloud"
)

func roleBranch() branch {
	scope := arg{names: "--scope", help: "Scope at which the assignment or definition applies, such as /subscriptions/ID/resourceGroups/NAME."}
	group := arg{names: "--resource-group -g", help: "Use it as the scope."}
	assignee := arg{names: "--assignee", help: "A user, group, or service principal: object id, sign-in name, or client id."}
	objectID := arg{names: "--assignee-object-id", help: "The principal's object id; no look-up is made."}
	role := arg{names: "--role", help: "Role name or id."}
	needed := role
	needed.required = true
	return branch{name: "role", help: "Manage role-based access control.", branches: []branch{
		{name: "assignment", help: "Manage role assignments.", commands: []command{
			{name: "create", help: "Create a role assignment.", run: roleCreate,
				example: "az role assignment create --assignee-object-id ID --assignee-principal-type ServicePrincipal --role \"Storage Blob Data Reader\" --scope SCOPE",
				args: []arg{needed, scope, group, assignee, objectID,
					{names: "--assignee-principal-type", help: "The principal's type.", choices: []string{"ForeignGroup", "Group", "ServicePrincipal", "User"}},
					{names: "--name -n", help: "A GUID for the assignment."}, {names: "--description", help: "Description."}}},
			{name: "list", help: "List role assignments.", run: roleList, args: []arg{scope, group, assignee, role,
				{names: "--all", help: "All assignments of the subscription.", kind: flag},
				{names: "--include-inherited", help: "Also those of the scopes above.", kind: flag},
				{names: "--include-groups", kind: flag, hidden: true}}},
			{name: "delete", help: "Delete role assignments.", run: roleDelete, args: []arg{scope, group, assignee, role,
				{names: "--ids", help: "Ids of assignments, parted by spaces.", kind: many}, yesArg(),
				{names: "--include-inherited", help: "Also those of the scopes above.", kind: flag}}},
		}},
		{name: "definition", help: "Manage role definitions.", commands: []command{
			{name: "list", help: "List role definitions.", run: roleDefinitions, args: []arg{scope, group,
				{names: "--name -n", help: "The role's name, or its GUID."}, {names: "--custom-role-only", help: "Custom roles only.", kind: truth}}},
		}},
	}}
}

func authorization(scope, typ string) string {
	return strings.TrimSuffix(scope, "/") + "/providers/Microsoft.Authorization/" + typ
}

// scope is --scope, else --resource-group, else the subscription.
func (c *Call) scope(ctx context.Context) (string, error) {
	sub, err := c.subscription(ctx)
	if err != nil {
		return "", err
	}
	scope := subscriptionPath(sub)
	switch {
	case c.str("scope") != "":
		id, err := armid.Parse(c.str("scope"))
		if err != nil {
			return "", hinted(usage("argument --scope: %v", err), "a scope is the id of a resource, as --query id -o tsv of its show command gives it")
		}
		scope = id.String()
	case c.str("resource-group") != "":
		scope = groupPath(sub, c.str("resource-group"))
	case c.given("scope"):
		return "", hinted(usage("argument --scope: it is empty"), "a variable of the shell may not be set")
	}
	return scope, nil
}

// roleID finds a role definition by name, GUID or id.
func roleID(ctx context.Context, s *cloud.Session, scope, role string) (string, error) {
	if strings.HasPrefix(role, "/") {
		return role, nil
	}
	if isGUID(role) {
		id, err := armid.Parse(scope)
		if err != nil {
			return "", err
		}
		return authorization(subscriptionPath(id.SubscriptionID()), "roleDefinitions/") + role, nil
	}
	filter := "roleName eq '" + strings.ReplaceAll(role, "'", "''") + "'"
	list, err := s.List(ctx, authorization(scope, "roleDefinitions"), versionRoleLookup, url.Values{"$filter": {filter}})
	if err != nil {
		return "", err
	}
	for _, item := range list {
		if def, ok := item.(object); ok && strings.EqualFold(text(def, "properties.roleName"), role) {
			return text(def, "id"), nil
		}
	}
	return "", hinted(fmt.Errorf("role %q doesn't exist", role), "az role definition list --query \"[].roleName\" -o tsv shows those that there are")
}

func roleCreate(ctx context.Context, c *Call) (any, error) {
	if c.given("assignee") == c.given("assignee-object-id") {
		return nil, usage("give either --assignee or --assignee-object-id")
	}
	if !c.given("scope") && !c.given("resource-group") {
		return nil, usage("the following arguments are required: --scope")
	}
	s, err := c.Session()
	if err != nil {
		return nil, err
	}
	scope, err := c.scope(ctx)
	if err != nil {
		return nil, err
	}
	definition, err := roleID(ctx, s, scope, c.str("role"))
	if err != nil {
		return nil, err
	}
	principal, kind := c.str("assignee-object-id"), c.str("assignee-principal-type")
	if c.given("assignee") {
		principal, kind, err = resolvePrincipal(ctx, s, c.str("assignee"))
		if err != nil {
			return nil, err
		}
	}
	if !isGUID(principal) {
		return nil, hinted(usage("argument --assignee-object-id: %q is not an object id", principal), "a variable of the shell may not be set, or a query may have found nothing")
	}
	properties := object{"roleDefinitionId": definition, "principalId": principal}
	if kind != "" {
		properties["principalType"] = kind
	}
	if c.given("description") {
		properties["description"] = c.str("description")
	}
	name := c.str("name")
	if name == "" {
		name = uuid.NewString()
	}
	reply, err := s.Call(ctx, cloud.Request{Method: http.MethodPut, Path: authorization(scope, "roleAssignments/") + name,
		Version: versionRoles, Body: object{"properties": properties}})
	var f *cloud.Failure
	if errors.As(err, &f) && f.Code == "RoleAssignmentExists" {
		return existingAssignment(ctx, s, scope, definition, principal, err)
	}
	if err != nil {
		return nil, err
	}
	return flatten(reply.Object()), nil
}

// existingAssignment finds the one that the service says is there.
func existingAssignment(ctx context.Context, s *cloud.Session, scope, definition, principal string, cause error) (any, error) {
	list, err := s.List(ctx, authorization(scope, "roleAssignments"), versionRoles, url.Values{"$filter": {"atScope()"}})
	if err != nil {
		return nil, err
	}
	for _, item := range list {
		a, ok := item.(object)
		if ok && strings.EqualFold(text(a, "properties.principalId"), principal) && sameID(text(a, "properties.scope"), scope) &&
			lastPart(text(a, "properties.roleDefinitionId")) == lastPart(definition) {
			return flatten(a), nil
		}
	}
	return nil, cause
}

func lastPart(id string) string { return strings.ToLower(id[strings.LastIndexByte(id, '/')+1:]) }

func sameID(a, b string) bool {
	x, errA := armid.Parse(a)
	y, errB := armid.Parse(b)
	return errA == nil && errB == nil && x.Equal(y)
}

// resolvePrincipal asks the directory who is meant.
func resolvePrincipal(ctx context.Context, s *cloud.Session, who string) (id, kind string, err error) {
	filter := "servicePrincipalNames/any(c:c eq '" + strings.ReplaceAll(who, "'", "''") + "')"
	found, err := graph(ctx, s, http.MethodGet, "/v1.0/servicePrincipals?$filter="+url.QueryEscape(filter), nil)
	if err != nil {
		return "", "", err
	}
	if len(found) > 0 {
		return text(found[0], "id"), "ServicePrincipal", nil
	}
	if isGUID(who) {
		found, err = graph(ctx, s, http.MethodPost, "/v1.0/directoryObjects/getByIds",
			object{"ids": []any{who}, "types": []any{"user", "group", "servicePrincipal", "directoryObjectPartnerReference"}})
		if err != nil {
			return "", "", err
		}
		if len(found) > 0 {
			return text(found[0], "id"), principalKind(found[0]), nil
		}
	}
	return "", "", hinted(fmt.Errorf("cannot find user or service principal in graph database for %q", who), "give its object id with --assignee-object-id and --assignee-principal-type")
}

func principalKind(o object) string {
	switch text(o, "@odata.type") {
	case "#microsoft.graph.user":
		return "User"
	case "#microsoft.graph.group":
		return "Group"
	}
	return "ServicePrincipal"
}

func roleList(ctx context.Context, c *Call) (any, error) {
	s, err := c.Session()
	if err != nil {
		return nil, err
	}
	list, err := c.assignments(ctx, s)
	if err != nil {
		return nil, err
	}
	scope, err := c.scope(ctx)
	if err != nil {
		return nil, err
	}
	roles, err := roleNames(ctx, s, scope)
	if err != nil {
		return nil, err
	}
	names := principalNames(ctx, s, list)
	out := []any{}
	for _, a := range list {
		shown := flatten(a)
		shown["roleDefinitionName"] = roles[lastPart(text(shown, "roleDefinitionId"))]
		shown["principalName"] = names[strings.ToLower(text(shown, "principalId"))]
		out = append(out, shown)
	}
	return out, nil
}

// assignments lists those that the arguments select.
func (c *Call) assignments(ctx context.Context, s *cloud.Session) ([]object, error) {
	scope, err := c.scope(ctx)
	if err != nil {
		return nil, err
	}
	query := url.Values{"$filter": {"atScope()"}}
	if c.on("all") {
		query = nil
	}
	list, err := s.List(ctx, authorization(scope, "roleAssignments"), versionRoles, query)
	if err != nil {
		return nil, err
	}
	principal, definition := "", ""
	if who := c.str("assignee"); who != "" {
		principal = who
		if id, _, err := resolvePrincipal(ctx, s, who); err == nil {
			principal = id
		}
	}
	if role := c.str("role"); role != "" {
		if definition, err = roleID(ctx, s, scope, role); err != nil {
			return nil, err
		}
	}
	var out []object
	for _, item := range list {
		a, ok := item.(object)
		switch {
		case !ok:
		case principal != "" && !strings.EqualFold(text(a, "properties.principalId"), principal):
		case definition != "" && lastPart(text(a, "properties.roleDefinitionId")) != lastPart(definition):
		case !c.on("all") && !c.on("include-inherited") && !sameID(text(a, "properties.scope"), scope):
		default:
			out = append(out, a)
		}
	}
	return out, nil
}

func roleNames(ctx context.Context, s *cloud.Session, scope string) (map[string]string, error) {
	list, err := s.List(ctx, authorization(scope, "roleDefinitions"), versionRoleLookup, nil)
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, item := range list {
		if def, ok := item.(object); ok {
			names[lastPart(text(def, "id"))] = text(def, "properties.roleName")
		}
	}
	return names, nil
}

// principalNames asks the directory for names; a principal that it does not
// tell of has none.
func principalNames(ctx context.Context, s *cloud.Session, list []object) map[string]string {
	names := map[string]string{}
	var ids []any
	for _, a := range list {
		if id := text(a, "properties.principalId"); id != "" {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return names
	}
	found, err := graph(ctx, s, http.MethodPost, "/v1.0/directoryObjects/getByIds",
		object{"ids": ids, "types": []any{"user", "group", "servicePrincipal", "directoryObjectPartnerReference"}})
	if err != nil {
		return names
	}
	for _, o := range found {
		names[strings.ToLower(text(o, "id"))] = firstText(o, "userPrincipalName", "appId", "displayName")
	}
	return names
}

func firstText(o object, keys ...string) string {
	for _, key := range keys {
		if s := text(o, key); s != "" {
			return s
		}
	}
	return ""
}

func roleDelete(ctx context.Context, c *Call) (any, error) {
	s, err := c.Session()
	if err != nil {
		return nil, err
	}
	ids := c.list("ids")
	if len(ids) == 0 {
		if !c.given("scope") && !c.given("resource-group") && !c.given("assignee") && !c.given("role") {
			if err := c.confirm("This will delete all role assignments of the subscription. Are you sure?"); err != nil {
				return nil, err
			}
		}
		list, err := c.assignments(ctx, s)
		if err != nil {
			return nil, err
		}
		for _, a := range list {
			ids = append(ids, text(a, "id"))
		}
	}
	if len(ids) == 0 {
		return nil, errors.New("no matched assignments were found to delete")
	}
	for _, id := range ids {
		if _, err := s.Call(ctx, cloud.Request{Method: http.MethodDelete, Path: id, Version: versionRoles}); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func roleDefinitions(ctx context.Context, c *Call) (any, error) {
	s, err := c.Session()
	if err != nil {
		return nil, err
	}
	scope, err := c.scope(ctx)
	if err != nil {
		return nil, err
	}
	var query url.Values
	name := c.str("name")
	if name != "" && !isGUID(name) {
		query = url.Values{"$filter": {"roleName eq '" + strings.ReplaceAll(name, "'", "''") + "'"}}
	}
	list, err := s.List(ctx, authorization(scope, "roleDefinitions"), versionRoleLookup, query)
	if err != nil {
		return nil, err
	}
	out := []any{}
	for _, shown := range each(list, showDefinition) {
		def := shown.(object)
		if isGUID(name) && !strings.EqualFold(text(def, "name"), name) || c.on("custom-role-only") && text(def, "roleType") != "CustomRole" {
			continue
		}
		out = append(out, def)
	}
	return out, nil
}

// showDefinition keeps the role's own type apart from the resource's.
func showDefinition(def object) object {
	shown := flatten(def)
	shown["roleType"] = text(def, "properties.type")
	return shown
}

// graph calls the directory and returns the objects of its answer.
func graph(ctx context.Context, s *cloud.Session, method, path string, body object) ([]object, error) {
	list, err := s.Directory(ctx, method, path, body)
	var out []object
	for _, item := range list {
		if o, ok := item.(object); ok {
			out = append(out, o)
		}
	}
	return out, err
}
