package rbac

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"lapis/armid"
	"lapis/fault"
)

// RoleMatch is a role that would allow an action.
type RoleMatch struct {
	ID   string
	Name string
	Type string
}

// Suggest returns the roles that would allow the query's action at
// [AssignableScope], least privilege first:
//
//  1. roles made for the asked resource provider, or for all, before roles that
//     only happen to include the action, as many do for resourceGroups/read;
//  2. roles that cannot give roles to others before those that can;
//  3. roles that can read no keys or secrets, nor attach identities, before
//     those that can;
//  4. for a read, roles that cannot write or delete the same thing before
//     those that can;
//  5. fewer rights before more: a plain action counts 1, a pattern with a star
//     10^3 (below a resource type), 10^5 (a provider), 10^7 (a leading star with more) or 10^9 ("*");
//  6. more exclusions before fewer, then by name.
func (s *Snapshot) Suggest(q Query) []RoleMatch {
	matches := []RoleMatch{}
	for _, r := range s.ranked(q) {
		matches = append(matches, RoleMatch{ID: r.def.ID, Name: r.def.Name, Type: r.def.Type})
	}
	return matches
}

func (s *Snapshot) ranked(q Query) []*role {
	if q.Action == "" {
		return nil
	}
	scope := AssignableScope(q.Action, q.Scope)
	namespace, _, _ := strings.Cut(q.Action, "/")
	type candidate struct {
		*role
		rank [6]int
	}
	var found []candidate
	for _, r := range slices.Concat(s.builtins, s.customs) {
		if !r.allows(q.Action, q.Data) || !r.def.AssignableAt(scope) {
			continue
		}
		found = append(found, candidate{r, [6]int{
			flag(!r.madeFor(namespace)), flag(r.allows(WriteAssignments, false)), flag(r.borrowsPower()), flag(r.changesWhatItReads(q)), r.weight, -r.exclusions(),
		}})
	}
	slices.SortStableFunc(found, func(a, b candidate) int {
		return cmp.Or(slices.Compare(a.rank[:], b.rank[:]), strings.Compare(a.def.Name, b.def.Name))
	})
	var roles []*role
	for _, c := range found {
		roles = append(roles, c.role)
	}
	return roles
}

// Advise returns the least role, its scope and the command that assigns it.
// principalType is the kind of the principal; "" stands for ServicePrincipal.
func (s *Snapshot) Advise(q Query, principalType string) Advice {
	advice := Advice{Scope: AssignableScope(q.Action, q.Scope)}
	ranked := s.ranked(q)
	if len(ranked) == 0 {
		return advice
	}
	advice.Role = ranked[0].def.Name
	advice.Remedy = fmt.Sprintf("az role assignment create --assignee-object-id %s --assignee-principal-type %s --role %s --scope %s",
		shellWord(q.PrincipalID), cmp.Or(principalType, ServicePrincipal), shellName(advice.Role), shellWord(advice.Scope.String()))
	return advice
}

// Denial describes a refused query and what would mend it.
func (s *Snapshot) Denial(q Query, principalType string) fault.Denial {
	advice := s.Advise(q, principalType)
	return fault.Denial{
		Principal: q.PrincipalID, Action: q.Action, Scope: q.Scope.String(),
		Role: advice.Role, RoleScope: advice.Scope.String(), Remedy: advice.Remedy,
	}
}

// AssignableScope returns the narrowest scope at which it makes sense to assign
// a role for an action at a scope: the resource itself, but the account for a
// blob, the registry for a repository, the workspace for what lies in it (an
// online endpoint stands for itself and its deployments), and for the making of
// a resource what it is made in.
func AssignableScope(action string, scope armid.ID) armid.ID {
	id, lifted := scope, false
	for id.IsResource() && strings.EqualFold(id.Namespace(), "Microsoft.Authorization") {
		id, lifted = id.Parent(), true // a role assignment counts as its scope
	}
	names := len(id.Names())
	if names == 0 {
		if strings.EqualFold(action, "Microsoft.Resources/subscriptions/resourceGroups/write") && id.ResourceGroupName() != "" {
			return id.Parent()
		}
		return id
	}
	write := len(action) >= 6 && strings.EqualFold(action[len(action)-6:], "/write")
	if names == 1 {
		if write && !lifted && sameType(action, id.Type()) {
			return id.Parent()
		}
		return id
	}
	for len(id.Names()) > 2 {
		id = id.Parent()
	}
	endpoint := id.Is("Microsoft.MachineLearningServices/workspaces/onlineEndpoints")
	if endpoint && !(write && sameType(action, id.Type())) {
		return id
	}
	return id.Parent()
}

// sameType reports whether the action is one of the resource type itself.
func sameType(action, typ string) bool {
	cut := strings.LastIndexByte(action, '/')
	return cut >= 0 && strings.EqualFold(action[:cut], typ)
}

// weigh estimates how many operations a role grants.
func weigh(r *role) int {
	total := 0
	for i := range r.blocks {
		for _, p := range slices.Concat(r.blocks[i].control.allow, r.blocks[i].data.allow) {
			total += p.weight()
		}
	}
	return total
}

func (p *pattern) weight() int {
	switch {
	case !p.star:
		return 1
	case p.text == "*":
		return 1e9
	case p.prefix == "":
		return 1e7
	case strings.Count(p.prefix, "/") < 2:
		return 1e5
	}
	return 1e3
}

// madeFor reports whether the role is about the resource provider: one of its
// patterns names it or begins with a star. The providers that nearly every
// role carries along, such as Microsoft.Support, count only for roles that
// have no other.
func (r *role) madeFor(namespace string) bool {
	along := []string{"microsoft.authorization", "microsoft.insights", "microsoft.resources", "microsoft.resourcehealth", "microsoft.support"}
	others, named := false, false
	for i := range r.blocks {
		for _, p := range slices.Concat(r.blocks[i].control.allow, r.blocks[i].data.allow) {
			first, _, _ := strings.Cut(lowerASCII(p.text), "/")
			if strings.HasPrefix(first, "*") {
				return true
			}
			others = others || !slices.Contains(along, first)
			named = named || strings.EqualFold(first, namespace)
		}
	}
	return named && !(others && slices.Contains(along, lowerASCII(namespace)))
}

// borrowsPower reports whether the role can get at rights that it does not list:
// by keys, by secrets, or by attaching an identity.
func (r *role) borrowsPower() bool {
	return r.allows(identities+"assign/action", false) ||
		r.allows("Microsoft.Storage/storageAccounts/listKeys/action", false) ||
		r.allows("Microsoft.ContainerRegistry/registries/listCredentials/action", false) ||
		r.allows("Microsoft.MachineLearningServices/workspaces/onlineEndpoints/listKeys/action", false) ||
		r.allows("Microsoft.MachineLearningServices/workspaces/connections/listSecrets/action", false) ||
		r.allows("Microsoft.KeyVault/vaults/secrets/getSecret/action", true)
}

// changesWhatItReads reports whether the query reads something that the role
// can also write or delete.
func (r *role) changesWhatItReads(q Query) bool {
	cut := len(q.Action) - len("/read")
	if cut < 0 || !strings.EqualFold(q.Action[cut:], "/read") {
		return false
	}
	return r.allows(q.Action[:cut]+"/write", q.Data) || r.allows(q.Action[:cut]+"/delete", q.Data)
}

func (r *role) exclusions() int {
	n := 0
	for i := range r.blocks {
		n += len(r.blocks[i].control.except) + len(r.blocks[i].data.except)
	}
	return n
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// shellName writes a role's name for a shell, in double quotes where they do.
func shellName(name string) string {
	if strings.ContainsAny(name, "\"$`\\!\n") {
		return shellWord(name)
	}
	return `"` + name + `"`
}

// shellWord quotes a word where a shell would not take it as it is.
func shellWord(s string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !safe(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
