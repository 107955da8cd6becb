package lapis

import (
	"context"
	"encoding/json"
	"net/http"

	"lapis/arm"
	"lapis/armid"
	"lapis/rbac"
	"lapis/resource"
	"lapis/template"
	"lapis/template/deployment"
)

// newDeployments makes what deploys templates.
func (s *Server) newDeployments() *deployment.Service {
	return deployment.New(deployment.Config{
		Tree: s.tree, Operations: s.operations, Sealer: s.sealer, Tenant: s.home.Tenant, Now: s.cfg.Now, Assign: s.assign,
		Require: func(ctx context.Context, principalID, action string, scope armid.ID) error {
			return s.require(ctx, principalID, action, false, scope)
		},
		Linked: func(ctx context.Context, principalID, action string, scope armid.ID, access resource.Access) error {
			return s.roles.RequireLinked(ctx,
				rbac.Query{PrincipalID: principalID, Action: action, Scope: scope},
				rbac.Query{PrincipalID: principalID, Action: access.Action, Scope: access.Scope})
		},
	})
}

// assign makes a role assignment of a template, if its caller may.
func (s *Server) assign(ctx context.Context, callerID string, id armid.ID, body json.RawMessage) error {
	if err := s.require(ctx, callerID, rbac.WriteAssignments, false, id.Parent()); err != nil {
		return err
	}
	request, err := rbac.ParseAssignment(body)
	if err != nil {
		return err
	}
	request.Scope, request.Name, request.By = id.Parent(), id.Name(), callerID
	_, _, err = s.roles.Assign(ctx, request)
	return err
}

// deploymentRoutes are where clients follow a deployment. Some ask without the
// namespace, as the first versions of Resource Manager did.
func (s *Server) deploymentRoutes() []arm.Route {
	const group = "/subscriptions/{subscription}/resourceGroups/{resourceGroup}"
	const item = group + "/providers/" + template.DeploymentType + "/{deployments}"
	handle := func(r *arm.Request) (arm.Answer, error) {
		steps, err := s.templates.Steps(r.Context(), r.ID)
		return arm.Answer{Body: map[string]any{"value": steps}}, err
	}
	row := func(path string) arm.Route {
		return arm.Route{
			Method: http.MethodGet, Path: path, Scope: item, Action: template.DeploymentType + "/operations/read",
			Version: s.templates.Type().CheckAPIVersion, Handle: handle,
		}
	}
	return []arm.Route{row(item + "/operations"), row(group + "/deployments/{deployments}/operations")}
}
