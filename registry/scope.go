package registry

import (
	"slices"
	"strings"

	"cuelabs.dev/go/oci/ociregistry/ociref"

	"lapis/fault"
)

// access is one entry of a token's scope, in the form the token carries it.
type access struct {
	Type    string   `json:"type"` // repository or registry
	Name    string   `json:"name"` // the repository, "*" for all; catalog
	Actions []string `json:"actions"`
}

// The actions of scopes.
const (
	pull   = "pull"
	push   = "push"
	remove = "delete"
	every  = "*"
)

const (
	typeRepository = "repository"
	typeRegistry   = "registry"
	catalog        = "catalog"
)

// Limits on what one token may be asked for.
const (
	maxScopes      = 100
	maxScopeLength = 16 << 10
)

// parseScopes reads scope parameters: each holds entries type:name:action,...
// separated by spaces (distribution, "Token Scope Documentation"). Types we do
// not know are kept and grant nothing.
func parseScopes(params []string) ([]access, error) {
	total := 0
	var entries []access
	for _, param := range params {
		if total += len(param); total > maxScopeLength {
			return nil, fault.E(fault.Invalid, "invalid_scope", "The scope is longer than %d bytes.", maxScopeLength)
		}
		for field := range strings.FieldsSeq(param) {
			entry, err := parseScope(field)
			if err != nil {
				return nil, err
			}
			if entries = mergeAccess(entries, entry); len(entries) > maxScopes {
				return nil, fault.E(fault.Invalid, "invalid_scope", "The scope has more than %d entries.", maxScopes)
			}
		}
	}
	return entries, nil
}

// parseScope reads type:name:actions. A name may hold colons, types and actions do not.
func parseScope(field string) (access, error) {
	bad := fault.E(fault.Invalid, "invalid_scope", "Scope %.200q is not of the form type:name:action[,action].", field)
	typ, rest, ok := strings.Cut(field, ":")
	i := strings.LastIndexByte(rest, ':')
	if !ok || typ == "" || i <= 0 {
		return access{}, bad
	}
	entry := access{Type: typ, Name: rest[:i]}
	for action := range strings.SplitSeq(rest[i+1:], ",") {
		if action = strings.TrimSpace(action); action == "" {
			continue
		}
		if strings.ContainsFunc(action, func(r rune) bool { return r != '*' && r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') }) {
			return access{}, bad
		}
		if !slices.Contains(entry.Actions, action) {
			entry.Actions = append(entry.Actions, action)
		}
	}
	if typ == typeRepository && entry.Name != every && !ociref.IsValidRepository(entry.Name) {
		return access{}, fault.E(fault.Invalid, "invalid_scope", "Scope %.200q names no valid repository.", field)
	}
	return entry, nil
}

func mergeAccess(entries []access, entry access) []access {
	for i, e := range entries {
		if e.Type != entry.Type || e.Name != entry.Name {
			continue
		}
		for _, action := range entry.Actions {
			if !slices.Contains(e.Actions, action) {
				entries[i].Actions = append(entries[i].Actions, action)
			}
		}
		return entries
	}
	return append(entries, entry)
}

// formatScopes writes what parseScopes reads.
func formatScopes(entries []access) string {
	parts := make([]string, len(entries))
	for i, e := range entries {
		parts[i] = e.Type + ":" + e.Name + ":" + strings.Join(e.Actions, ",")
	}
	return strings.Join(parts, " ")
}

// covers reports whether the granted entries hold one that was asked for.
func covers(granted []access, typ, name, action string) bool {
	for _, e := range granted {
		if e.Type != typ || e.Name != name && (e.Name != every || typ != typeRepository) {
			continue
		}
		if slices.Contains(e.Actions, action) || slices.Contains(e.Actions, every) {
			return true
		}
	}
	return false
}

// grant keeps of what was asked what may is true for. "*" becomes every action
// that may be done, and stays itself only if that is all of them.
func grant(asked []access, may func(action string) bool) []access {
	granted := []access{}
	for _, e := range asked {
		out := access{Type: e.Type, Name: e.Name, Actions: []string{}}
		for _, action := range e.Actions {
			out.Actions = append(out.Actions, grantOne(e, action, may)...)
		}
		if len(out.Actions) > 0 {
			granted = mergeAccess(granted, out)
		}
	}
	return granted
}

func grantOne(e access, action string, may func(string) bool) []string {
	switch {
	case e.Type == typeRegistry && e.Name == catalog && action == every && may(pull):
		return []string{every}
	case e.Type != typeRepository:
		return nil
	case action == every:
		var all []string
		for _, a := range []string{pull, push, remove} {
			if may(a) {
				all = append(all, a)
			}
		}
		if len(all) == 3 {
			return []string{every}
		}
		return all
	case actionFor(action) != "" && may(action):
		return []string{action}
	}
	return nil
}

// actionFor returns the ARM action that a scope's action needs at the registry.
// Reading a repository's metadata is pulling, writing it is pushing: the roles
// AcrPull and AcrPush have no finer actions. "" for what we do not know.
func actionFor(action string) string {
	switch action {
	case pull, "metadata_read":
		return "Microsoft.ContainerRegistry/registries/pull/read"
	case push, "metadata_write":
		return "Microsoft.ContainerRegistry/registries/push/write"
	case remove:
		return "Microsoft.ContainerRegistry/registries/artifacts/delete"
	}
	return ""
}
