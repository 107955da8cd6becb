package rbac

import (
	"encoding/json"
	"errors"
	"time"

	"lapis/armid"
	"lapis/fault"
)

// The bodies of Microsoft.Authorization. One form serves every api-version from
// 2015-07-01 to 2022-05-01-preview: a newer version only adds properties, and
// the clients of older ones pass over what they do not know.

// AssignmentBody is a role assignment on the wire.
type AssignmentBody struct {
	ID         string               `json:"id"`
	Name       string               `json:"name"`
	Type       string               `json:"type"`
	Properties AssignmentProperties `json:"properties"`
}

// AssignmentProperties are the properties of [AssignmentBody].
type AssignmentProperties struct {
	RoleDefinitionID string  `json:"roleDefinitionId"`
	PrincipalID      string  `json:"principalId"`
	PrincipalType    string  `json:"principalType"`
	Scope            string  `json:"scope"`
	Description      *string `json:"description"`
	Condition        *string `json:"condition"`
	ConditionVersion *string `json:"conditionVersion"`
	CreatedOn        string  `json:"createdOn"`
	UpdatedOn        string  `json:"updatedOn"`
	CreatedBy        *string `json:"createdBy"`
	UpdatedBy        *string `json:"updatedBy"`
}

// RoleBody is a role definition on the wire.
type RoleBody struct {
	ID         string         `json:"id"`
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Properties RoleProperties `json:"properties"`
}

// RoleProperties are the properties of [RoleBody].
type RoleProperties struct {
	RoleName         string           `json:"roleName"`
	Type             string           `json:"type"`
	Description      string           `json:"description"`
	AssignableScopes []string         `json:"assignableScopes"`
	Permissions      []PermissionBody `json:"permissions"`
	CreatedOn        *string          `json:"createdOn,omitempty"`
	UpdatedOn        *string          `json:"updatedOn,omitempty"`
	CreatedBy        *string          `json:"createdBy,omitempty"`
	UpdatedBy        *string          `json:"updatedBy,omitempty"`
}

// PermissionBody is a permission block on the wire; its lists are never null.
type PermissionBody struct {
	Actions        []string `json:"actions"`
	NotActions     []string `json:"notActions"`
	DataActions    []string `json:"dataActions"`
	NotDataActions []string `json:"notDataActions"`
}

// RenderAssignment draws an assignment as it is seen from the scope at, which
// matters for those at the root only: their role definition gets at's subscription.
func RenderAssignment(a Assignment, at armid.ID) AssignmentBody {
	seen := a.Scope
	if seen.SubscriptionID() == "" {
		seen = at
	}
	return AssignmentBody{
		ID: a.ID(), Name: a.Name, Type: AssignmentType,
		Properties: AssignmentProperties{
			RoleDefinitionID: RoleDefinitionID(seen, a.RoleID),
			PrincipalID:      a.PrincipalID, PrincipalType: a.PrincipalType, Scope: a.Scope.String(),
			Description: optional(a.Description), Condition: optional(a.Condition), ConditionVersion: optional(a.ConditionVersion),
			CreatedOn: stamp(a.CreatedOn), UpdatedOn: stamp(a.UpdatedOn),
			CreatedBy: optional(a.CreatedBy), UpdatedBy: optional(a.UpdatedBy),
		},
	}
}

// RenderRole draws a role as it is seen from the scope at.
func RenderRole(r Role, at armid.ID) RoleBody {
	p := RoleProperties{
		RoleName: r.Name, Type: r.Type, Description: r.Description,
		AssignableScopes: list(r.AssignableScopes), Permissions: []PermissionBody{},
		CreatedBy: optional(r.CreatedBy), UpdatedBy: optional(r.UpdatedBy),
	}
	if !r.CreatedOn.IsZero() {
		p.CreatedOn, p.UpdatedOn = optional(stamp(r.CreatedOn)), optional(stamp(r.UpdatedOn))
	}
	for _, block := range r.Permissions {
		p.Permissions = append(p.Permissions, PermissionBody{
			Actions: list(block.Actions), NotActions: list(block.NotActions),
			DataActions: list(block.DataActions), NotDataActions: list(block.NotDataActions),
		})
	}
	return RoleBody{ID: RoleDefinitionID(at, r.ID), Name: r.ID, Type: DefinitionType, Properties: p}
}

// stamp writes a time as the real service does, with seven decimals.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// ParseAssignment reads the body of a PUT of a role assignment. Scope, name and
// caller are the face's to fill in. Unknown properties and read-only ones are
// passed over, as in Azure.
func ParseAssignment(body []byte) (AssignRequest, error) {
	var b struct {
		Properties *struct {
			RoleDefinitionID  *string `json:"roleDefinitionId"`
			PrincipalID       *string `json:"principalId"`
			PrincipalType     *string `json:"principalType"`
			Description       *string `json:"description"`
			Condition         *string `json:"condition"`
			ConditionVersion  *string `json:"conditionVersion"`
			CanDelegate       *bool   `json:"canDelegate"`
			DelegatedIdentity *string `json:"delegatedManagedIdentityResourceId"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(body, &b); err != nil {
		return AssignRequest{}, badBody("role assignment", err)
	}
	p := b.Properties
	if p == nil {
		return AssignRequest{}, missing("properties")
	}
	req := AssignRequest{
		RoleDefinitionID: text(p.RoleDefinitionID), PrincipalID: text(p.PrincipalID), PrincipalType: text(p.PrincipalType),
		Description: text(p.Description), Condition: text(p.Condition), ConditionVersion: text(p.ConditionVersion),
		CanDelegate: p.CanDelegate != nil && *p.CanDelegate, DelegatedIdentity: text(p.DelegatedIdentity),
	}
	if req.RoleDefinitionID == "" {
		return AssignRequest{}, missing("properties.roleDefinitionId")
	}
	if req.PrincipalID == "" {
		return AssignRequest{}, missing("properties.principalId")
	}
	return req, nil
}

// ParseRole reads the body of a PUT of a role definition. ID and caller are
// the face's to fill in.
func ParseRole(body []byte) (RoleRequest, error) {
	type permission struct {
		Permission
		Condition        *string `json:"condition"`
		ConditionVersion *string `json:"conditionVersion"`
	}
	var b struct {
		Properties *struct {
			RoleName         string       `json:"roleName"`
			Description      string       `json:"description"`
			Type             string       `json:"type"`
			AssignableScopes []string     `json:"assignableScopes"`
			Permissions      []permission `json:"permissions"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(body, &b); err != nil {
		return RoleRequest{}, badBody("role definition", err)
	}
	p := b.Properties
	if p == nil {
		return RoleRequest{}, missing("properties")
	}
	req := RoleRequest{Name: p.RoleName, Description: p.Description, Type: p.Type, AssignableScopes: p.AssignableScopes}
	for _, block := range p.Permissions {
		req.Permissions = append(req.Permissions, block.Permission)
		req.Conditional = req.Conditional || text(block.Condition) != "" || text(block.ConditionVersion) != ""
	}
	return req, nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func badBody(what string, err error) *fault.Error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fault.E(fault.Invalid, "InvalidRequestContent",
			"The request content is not a valid %s: the property '%s' cannot be a %s.", what, wrong.Field, wrong.Value).At(wrong.Field)
	}
	return fault.E(fault.Invalid, "InvalidRequestContent", "The request content is not a valid %s: %v.", what, err)
}

func missing(path string) *fault.Error {
	return fault.E(fault.Invalid, "InvalidRequestContent", "The request content lacks the required property '%s'.", path).At(path)
}
