// Package rbac owns role definitions, role assignments and the decision that
// follows from them.
//
// The decision is a pure function over an immutable [Snapshot]: a principal may
// do an action at a scope if one of its assignments (or of its groups') lies at
// that scope or above and names a role that grants the action. Rights add up
// across assignments; notActions take away only within their own permission
// block. There is no other rule: what no role grants is denied.
//
// Promises:
//   - A change of an assignment or a role is in force when the call that made
//     it returns, and still is after a crash: the snapshot is swapped after the
//     store's commit, and rebuilt from the store by [Open].
//   - A decision that allows allocates nothing.
//   - What we cannot evaluate is refused when it is written, never ignored:
//     conditions (ABAC), delegated identities, canDelegate. A record that has a
//     condition all the same grants nothing.
//   - Every denial names the least role that would allow the action and where
//     to assign it ([Snapshot.Suggest] has the ordering).
//
// An assignment outlives its principal, as in Azure, and is listed; after
// [Service.RemovePrincipal] it grants nothing, for ever.
//
// Sources: the Microsoft.Authorization resource provider, api-versions
// 2015-07-01 to 2022-05-01-preview; role permissions as published in August 2026.
package rbac
