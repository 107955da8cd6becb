// Package armid parses Azure Resource Manager ids and scopes.
//
// It is the only place that knows ARM's case rules: ids compare without regard
// to case, are echoed as the caller first wrote them, and one scope contains
// another only at a segment boundary (rg1 does not contain rg10).
package armid

import (
	"fmt"
	"strings"
)

// ID is a parsed resource id or scope. The zero value is the root scope "/".
//
// Shapes it accepts:
//
//	/
//	/subscriptions/{s}
//	/subscriptions/{s}/resourceGroups/{g}
//	{scope}/providers/{namespace}/{type}/{name}[/{type}/{name}...]
//
// The last shape repeats for extension resources, such as a role assignment at
// a storage account.
type ID struct {
	segments []string
	provider int // index of the last "providers" segment, -1 when there is none
}

// Root is the scope that contains every other.
var Root = ID{provider: -1}

// Parse reads an id. Repeated slashes collapse, as Azure's front end does;
// anything that is not one of the shapes of [ID] is an error that names the input.
func Parse(s string) (ID, error) {
	if !strings.HasPrefix(s, "/") {
		return ID{}, fmt.Errorf("resource id %q does not begin with '/'", s)
	}
	id := ID{provider: -1, segments: make([]string, 0, strings.Count(s, "/"))}
	for seg := range strings.SplitSeq(s, "/") {
		if seg == "" {
			continue
		}
		if seg == "." || seg == ".." || strings.ContainsAny(seg, "?#\\\x00") {
			return ID{}, fmt.Errorf("resource id %q has the segment %q, which no id may have", s, seg)
		}
		id.segments = append(id.segments, seg)
	}
	if len(id.segments) == 0 {
		return Root, nil
	}
	if err := id.check(s); err != nil {
		return ID{}, err
	}
	return id, nil
}

// check walks the segments once and finds the last provider.
func (id *ID) check(s string) error {
	i, n := 0, len(id.segments)
	if is(id.segments[0], "subscriptions") {
		if n < 2 {
			return fmt.Errorf("resource id %q names no subscription", s)
		}
		i = 2
		if n > 2 && is(id.segments[2], "resourceGroups") {
			if n < 4 {
				return fmt.Errorf("resource id %q names no resource group", s)
			}
			i = 4
		}
	}
	for i < n {
		if !is(id.segments[i], "providers") {
			return fmt.Errorf("resource id %q has %q where 'providers' belongs", s, id.segments[i])
		}
		id.provider = i
		next := i + 2
		for next < n && !is(id.segments[next], "providers") {
			next += 2
		}
		if next > n || next == i+2 {
			return fmt.Errorf("resource id %q does not end in a type and a name", s)
		}
		i = next
	}
	return nil
}

// MustParse is [Parse] for ids written in the program; it panics on a bad one.
func MustParse(s string) ID {
	id, err := Parse(s)
	if err != nil {
		panic(err)
	}
	return id
}

// Subscription returns the scope of a subscription.
func Subscription(sub string) ID {
	return ID{segments: []string{"subscriptions", sub}, provider: -1}
}

// ResourceGroup returns the scope of a resource group.
func ResourceGroup(sub, group string) ID {
	return ID{segments: []string{"subscriptions", sub, "resourceGroups", group}, provider: -1}
}

// String returns the id as it was written, with single slashes and no trailing one.
func (id ID) String() string { return "/" + strings.Join(id.segments, "/") }

// Key returns the form that is equal for equal ids: lower case.
func (id ID) Key() string { return strings.ToLower(id.String()) }

// Equal reports whether both name the same thing.
func (id ID) Equal(other ID) bool { return strings.EqualFold(id.String(), other.String()) }

// IsRoot reports whether id is "/".
func (id ID) IsRoot() bool { return len(id.segments) == 0 }

// IsResource reports whether id names a resource of a provider, and not a
// subscription, a resource group or the root.
func (id ID) IsResource() bool { return id.hasProvider() }

func (id ID) hasProvider() bool { return id.provider >= 0 && len(id.segments) > 0 }

// SubscriptionID returns the subscription's id, or "".
func (id ID) SubscriptionID() string {
	if len(id.segments) < 2 || !is(id.segments[0], "subscriptions") {
		return ""
	}
	return id.segments[1]
}

// ResourceGroupName returns the resource group's name, or "".
func (id ID) ResourceGroupName() string {
	if id.SubscriptionID() == "" || len(id.segments) < 4 || !is(id.segments[2], "resourceGroups") {
		return ""
	}
	return id.segments[3]
}

// Namespace returns the last provider's namespace, such as Microsoft.Storage, or "".
func (id ID) Namespace() string {
	if !id.hasProvider() {
		return ""
	}
	return id.segments[id.provider+1]
}

// Type returns the full type with its namespace, such as
// Microsoft.Storage/storageAccounts/blobServices. Subscriptions and resource
// groups have the types Azure gives them; the root has "".
func (id ID) Type() string {
	switch {
	case id.hasProvider():
		parts := []string{id.segments[id.provider+1]}
		for i := id.provider + 2; i < len(id.segments); i += 2 {
			parts = append(parts, id.segments[i])
		}
		return strings.Join(parts, "/")
	case id.ResourceGroupName() != "":
		return "Microsoft.Resources/resourceGroups"
	case id.SubscriptionID() != "":
		return "Microsoft.Resources/subscriptions"
	}
	return ""
}

// Is reports whether id has the given type, without regard to case.
func (id ID) Is(typ string) bool { return strings.EqualFold(id.Type(), typ) }

// Name returns the last name, or "" for the root.
func (id ID) Name() string {
	if len(id.segments) == 0 {
		return ""
	}
	return id.segments[len(id.segments)-1]
}

// Names returns the names of the last provider's resource and its parents, outermost first.
func (id ID) Names() []string {
	if !id.hasProvider() {
		return nil
	}
	var names []string
	for i := id.provider + 3; i < len(id.segments); i += 2 {
		names = append(names, id.segments[i])
	}
	return names
}

// Parent returns the scope that holds id: the enclosing resource, the scope an
// extension is attached to, the resource group, the subscription, the root.
// The root's parent is the root.
func (id ID) Parent() ID {
	n := len(id.segments)
	if n == 0 {
		return Root
	}
	cut := n - 2
	if id.hasProvider() && n == id.provider+4 {
		cut = id.provider // the last pair goes together with its provider
	}
	return fromSegments(id.segments[:cut])
}

// Child returns the resource of a nested type below id.
func (id ID) Child(typ, name string) ID {
	return fromSegments(append(id.segments[:len(id.segments):len(id.segments)], typ, name))
}

// Provider returns the resource of a provider at the scope id. typ is a full
// type of one level, such as Microsoft.Storage/storageAccounts.
func (id ID) Provider(typ, name string) ID {
	namespace, rest, _ := strings.Cut(typ, "/")
	return fromSegments(append(id.segments[:len(id.segments):len(id.segments)], "providers", namespace, rest, name))
}

// Contains reports whether other is id or lies below it.
func (id ID) Contains(other ID) bool {
	if len(id.segments) > len(other.segments) {
		return false
	}
	for i, seg := range id.segments {
		if !is(seg, other.segments[i]) {
			return false
		}
	}
	return true
}

// MarshalText writes the id as [ID.String] does.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what [Parse] reads.
func (id *ID) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// fromSegments rebuilds an id from segments that already form one.
func fromSegments(segments []string) ID {
	id := ID{segments: segments, provider: -1}
	for i, seg := range segments {
		if is(seg, "providers") && (i == 0 || i >= 2) && i%2 == 0 {
			id.provider = i
		}
	}
	return id
}

func is(a, b string) bool { return strings.EqualFold(a, b) }

// Len returns the number of segments; the root has none.
func (id ID) Len() int { return len(id.segments) }

// Segment returns the segment at i, as it was written. With [ID.Len] it walks
// an id without allocating.
func (id ID) Segment(i int) string { return id.segments[i] }
