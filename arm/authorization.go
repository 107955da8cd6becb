package arm

import (
	"net/http"

	"lapis/armid"
	"lapis/fault"
	"lapis/rbac"
)

// authorizationRoutes are the rows of role definitions and assignments, at any scope.
func (f *Face) authorizationRoutes() []Route {
	const assignments = "/{scope...}/providers/Microsoft.Authorization/roleAssignments"
	const roles = "/{scope...}/providers/Microsoft.Authorization/roleDefinitions"
	const at = "/{scope...}"
	return []Route{
		{Method: http.MethodGet, Path: assignments, Scope: at, Action: rbac.ReadAssignments, Version: required, Handle: f.listAssignments},
		{Method: http.MethodGet, Path: assignments + "/{name}", Scope: at, Action: rbac.ReadAssignments, Version: required, Handle: f.getAssignment},
		{Method: http.MethodPut, Path: assignments + "/{name}", Scope: at, Action: rbac.WriteAssignments, Version: required, Handle: f.putAssignment},
		{Method: http.MethodDelete, Path: assignments + "/{name}", Scope: at, Action: rbac.DropAssignments, Version: required, Handle: f.deleteAssignment},
		{Method: http.MethodGet, Path: roles, Scope: at, Action: rbac.ReadRoles, Version: required, Handle: f.listRoles},
		{Method: http.MethodGet, Path: roles + "/{name}", Scope: at, Action: rbac.ReadRoles, Version: required, Handle: f.getRole},
		{Method: http.MethodPut, Path: roles + "/{name}", Scope: at, Action: rbac.WriteRoles, Version: required, Handle: f.putRole},
		{Method: http.MethodDelete, Path: roles + "/{name}", Scope: at, Action: rbac.DropRoles, Version: required, Handle: f.deleteRole},
	}
}

// Versioned is the Version of rows that only want some api-version.
func Versioned(version string) error { return required(version) }

// required takes every api-version, but wants one: the bodies of roles are the
// same in all that clients use.
func required(version string) error {
	if version != "" {
		return nil
	}
	return fault.E(fault.Invalid, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.")
}

func (f *Face) listAssignments(r *Request) (Answer, error) {
	filter, err := rbac.ParseFilter(param(r, "$filter"))
	if err != nil {
		return Answer{}, err
	}
	bodies := []rbac.AssignmentBody{}
	for _, a := range f.Roles.Assignments(r.ID, filter) {
		bodies = append(bodies, rbac.RenderAssignment(a, r.ID))
	}
	return Answer{Body: listBody{Value: bodies}}, nil
}

func (f *Face) getAssignment(r *Request) (Answer, error) {
	a, err := f.Roles.Get(r.ID, r.Vars["name"])
	if err != nil {
		return Answer{}, err
	}
	return Answer{Body: rbac.RenderAssignment(a, r.ID)}, nil
}

func (f *Face) putAssignment(r *Request) (Answer, error) {
	data, err := body(r.Request)
	if err != nil {
		return Answer{}, err
	}
	request, err := rbac.ParseAssignment(data)
	if err != nil {
		return Answer{}, err
	}
	request.Scope, request.Name, request.By = r.ID, r.Vars["name"], r.Caller.ObjectID
	a, created, err := f.Roles.Assign(r.Context(), request)
	if err != nil {
		return Answer{}, err
	}
	answer := Answer{Status: http.StatusOK, Body: rbac.RenderAssignment(a, r.ID)}
	if created {
		answer.Status = http.StatusCreated
	}
	return answer, nil
}

func (f *Face) deleteAssignment(r *Request) (Answer, error) {
	a, found, err := f.Roles.Unassign(r.Context(), r.ID, r.Vars["name"])
	if err != nil || !found {
		return Answer{Status: http.StatusNoContent}, err
	}
	return Answer{Body: rbac.RenderAssignment(a, r.ID)}, nil
}

func (f *Face) listRoles(r *Request) (Answer, error) {
	filter, err := rbac.ParseRoleFilter(param(r, "$filter"))
	if err != nil {
		return Answer{}, err
	}
	bodies := []rbac.RoleBody{}
	for _, role := range f.Roles.Roles(r.ID, filter) {
		bodies = append(bodies, rbac.RenderRole(role, r.ID))
	}
	return Answer{Body: listBody{Value: bodies}}, nil
}

func (f *Face) getRole(r *Request) (Answer, error) {
	role, err := f.Roles.RoleByID(r.Vars["name"])
	if err != nil {
		return Answer{}, err
	}
	return Answer{Body: rbac.RenderRole(role, r.ID)}, nil
}

func (f *Face) putRole(r *Request) (Answer, error) {
	data, err := body(r.Request)
	if err != nil {
		return Answer{}, err
	}
	request, err := rbac.ParseRole(data)
	if err != nil {
		return Answer{}, err
	}
	request.ID, request.By = r.Vars["name"], r.Caller.ObjectID
	if err := f.mayWriteRole(r, request.AssignableScopes, rbac.WriteRoles); err != nil {
		return Answer{}, err
	}
	if existing, err := f.Roles.RoleByID(request.ID); err == nil {
		if err := f.mayWriteRole(r, existing.AssignableScopes, rbac.WriteRoles); err != nil {
			return Answer{}, err
		}
	}
	role, _, err := f.Roles.PutRole(r.Context(), request)
	if err != nil {
		return Answer{}, err
	}
	return Answer{Status: http.StatusCreated, Body: rbac.RenderRole(role, r.ID)}, nil
}

func (f *Face) deleteRole(r *Request) (Answer, error) {
	existing, err := f.Roles.RoleByID(r.Vars["name"])
	if fault.Is(err, fault.NotFound) {
		return Answer{Status: http.StatusNoContent}, nil
	}
	if err != nil {
		return Answer{}, err
	}
	if err := f.mayWriteRole(r, existing.AssignableScopes, rbac.DropRoles); err != nil {
		return Answer{}, err
	}
	role, _, err := f.Roles.DeleteRole(r.Context(), r.Vars["name"])
	if err != nil {
		return Answer{}, err
	}
	return Answer{Body: rbac.RenderRole(role, r.ID)}, nil
}

// mayWriteRole asks for an action at every scope at which a role is assignable,
// as a change of the role is a change of what is allowed there.
func (f *Face) mayWriteRole(r *Request, scopes []string, action string) error {
	for _, text := range scopes {
		scope, err := armid.Parse(text)
		if err != nil {
			return fault.E(fault.Invalid, "InvalidAssignableScopes", "The assignable scope '%s' is no scope: %s.", text, err.Error()).At("properties.assignableScopes")
		}
		if err := f.Roles.Require(r.Context(), rbac.Query{PrincipalID: r.Caller.ObjectID, Action: action, Scope: scope}); err != nil {
			return err
		}
	}
	return nil
}
