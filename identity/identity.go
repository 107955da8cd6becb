// Package identity owns the principals of the one tenant: users, applications
// and managed identities.
//
// It promises that a principal's ids never change and are never given twice;
// that a managed identity made again for the same resource is another
// principal; that a deletion is seen by every reader once the call that did it
// returns; and that a client secret cannot be read back from the store.
package identity

import (
	"time"
)

// Kind is what a principal stands for.
type Kind string

// The kinds.
const (
	User           Kind = "User"
	Application    Kind = "Application"
	SystemAssigned Kind = "SystemAssigned"
	UserAssigned   Kind = "UserAssigned"
)

// Managed reports whether the platform holds the credential of such a principal.
func (k Kind) Managed() bool { return k == SystemAssigned || k == UserAssigned }

// PrincipalType is the type that a role assignment gives such a principal:
// User or ServicePrincipal.
func (k Kind) PrincipalType() string {
	if k == User {
		return "User"
	}
	return "ServicePrincipal"
}

// Principal is somebody who can be given a token and a role.
type Principal struct {
	ObjectID    string    `json:"objectId"` // what roles are assigned to; Azure's principalId
	ClientID    string    `json:"clientId"` // what asks for tokens; Azure's appId
	TenantID    string    `json:"tenantId"`
	Kind        Kind      `json:"kind"`
	DisplayName string    `json:"displayName"`
	ResourceID  string    `json:"resourceId,omitempty"` // of the resource that carries a managed identity, as first written; "" for others
	CreatedAt   time.Time `json:"createdAt"`
}

// IsZero reports whether p is nobody.
func (p Principal) IsZero() bool { return p.ObjectID == "" }
