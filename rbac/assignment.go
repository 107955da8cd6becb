package rbac

import (
	"time"

	"lapis/armid"
)

// Kinds of principal, as in the property "principalType" of an assignment.
const (
	User             = "User"
	Group            = "Group"
	ServicePrincipal = "ServicePrincipal"
	ForeignGroup     = "ForeignGroup"
	Device           = "Device"
)

// Types of the two resources, as ARM writes them.
const (
	AssignmentType = "Microsoft.Authorization/roleAssignments"
	DefinitionType = "Microsoft.Authorization/roleDefinitions"
)

// Actions on the two resources.
const (
	ReadAssignments  = "Microsoft.Authorization/roleAssignments/read"
	WriteAssignments = "Microsoft.Authorization/roleAssignments/write"
	DropAssignments  = "Microsoft.Authorization/roleAssignments/delete"
	ReadRoles        = "Microsoft.Authorization/roleDefinitions/read"
	WriteRoles       = "Microsoft.Authorization/roleDefinitions/write"
	DropRoles        = "Microsoft.Authorization/roleDefinitions/delete"
)

// Assignment gives a principal a role at a scope and below.
type Assignment struct {
	Name          string   `json:"name"` // GUID, unique in the tenant
	Scope         armid.ID `json:"scope"`
	RoleID        string   `json:"roleId"`      // GUID, lower case
	PrincipalID   string   `json:"principalId"` // object id, lower case
	PrincipalType string   `json:"principalType"`
	Description   string   `json:"description,omitempty"`

	// A condition is refused by [Service.Assign]; the fields exist so that a
	// record that has one all the same is seen, and grants nothing.
	Condition        string `json:"condition,omitempty"`
	ConditionVersion string `json:"conditionVersion,omitempty"`

	CreatedOn time.Time `json:"createdOn"`
	CreatedBy string    `json:"createdBy,omitempty"` // object id of who made it
	UpdatedOn time.Time `json:"updatedOn"`
	UpdatedBy string    `json:"updatedBy,omitempty"`
}

// ID returns the assignment's ARM id.
func (a *Assignment) ID() string { return a.Scope.Provider(AssignmentType, a.Name).String() }

// RoleDefinitionID returns the ARM id of a role as seen from a scope: below
// the scope's subscription, or at the root where it has none.
func RoleDefinitionID(scope armid.ID, roleID string) string {
	at := armid.Root
	if sub := scope.SubscriptionID(); sub != "" {
		at = armid.Subscription(sub)
	}
	return at.Provider(DefinitionType, roleID).String()
}

// isGUID reports whether s is a GUID in its 36-character form.
func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f', c >= 'A' && c <= 'F':
		default:
			return false
		}
	}
	return true
}
