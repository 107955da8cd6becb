package resource

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"

	"lapis/armid"
	"lapis/fault"
)

// Type describes one resource type: its names, its api-versions and its rules.
// A nil function means that the type has no rule of that sort.
type Type struct {
	// Name is the full type, such as Microsoft.Storage/storageAccounts.
	Name string
	// APIVersions are those the type is known to be asked in, oldest first.
	// A date after the newest is taken too, any other is refused.
	APIVersions []string
	// Located says that a new resource must name its location.
	Located bool
	// CheckName refuses names outside the type's rules.
	CheckName func(name string) error
	// Prepare decides on a PUT or PATCH: it refuses it with a fault, or
	// completes Draft.Next. It runs before the transaction; effects it has must
	// be repeatable and harmless without the record.
	Prepare func(ctx context.Context, d *Draft) error
	// Linked lists what the caller must be allowed besides writing the resource.
	Linked func(d *Draft) ([]Access, error)
	// PutOperation is the kind of the long-running operation that completes a
	// PUT. Empty: the PUT is complete when it is answered. A Prepare that sets
	// Draft.Immediate completes at once all the same.
	PutOperation string
	// Changed runs after a change has been committed and before it is answered.
	Changed func(ctx context.Context, r Resource)
	// Remove refuses a deletion, or undoes what the resource holds. It runs
	// before the record goes, and may run again.
	Remove func(ctx context.Context, r Resource) error
	// DeleteOperation is the kind of the operation that deletes; Remove is then
	// only the check before it.
	DeleteOperation string
	// Show completes what is rendered: it may change properties and identity.
	Show func(ctx context.Context, r Resource, shown *Shown) error
	// Actions are the type's POST actions.
	Actions []Action
	// ReadOnly types cannot be PUT, PATCHed or DELETEd by clients.
	ReadOnly bool
	// FreeParent says that the parent need not exist: it is made of its
	// children, as an asset is of its versions. The parent's parent must.
	FreeParent bool
	// Query replaces the plain list below a parent, for types that are searched
	// or ordered; params are those of the request.
	Query func(ctx context.Context, parent armid.ID, params url.Values) ([]Resource, error)
	// Unlisted types are not among the resources that a group or subscription shows.
	Unlisted bool
	// Clean makes JSON of what clients send for it; nil: the body must be JSON.
	Clean func(body []byte) (json.RawMessage, error)
	// Virtual, when set, serves the type from elsewhere than the tree.
	Virtual *Virtual
}

// Virtual is a type whose records another service keeps, such as blob containers.
type Virtual struct {
	Get    func(ctx context.Context, id armid.ID) (Resource, error)
	List   func(ctx context.Context, parent armid.ID) ([]Resource, error)
	Put    func(ctx context.Context, d *Draft) error
	Delete func(ctx context.Context, id armid.ID) error
}

// Draft is a change under decision. Prev is nil for a new resource.
type Draft struct {
	Prev, Next *Resource
	Caller     Caller
	Immediate  bool // set by Prepare: nothing is left for PutOperation
}

// Access is a permission that a change needs.
type Access struct {
	Action string
	Scope  armid.ID
}

// Shown is what a client sees of a resource.
type Shown struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Location   string            `json:"location,omitempty"`
	Kind       string            `json:"kind,omitempty"`
	Tags       map[string]string `json:"tags,omitzero"` // not of types without a location, which have none of their own
	SKU        json.RawMessage   `json:"sku,omitempty"`
	Identity   *Identity         `json:"identity,omitempty"`
	Properties map[string]any    `json:"properties"`
	SystemData *shownSystemData  `json:"systemData,omitempty"`
	ETag       string            `json:"-"` // for If-Match; sent as a header, as bodies of most types have no field for it
}

type shownSystemData struct {
	CreatedBy      string    `json:"createdBy"`
	CreatedByType  string    `json:"createdByType"`
	CreatedAt      time.Time `json:"createdAt"`
	ModifiedBy     string    `json:"lastModifiedBy"`
	ModifiedByType string    `json:"lastModifiedByType"`
	ModifiedAt     time.Time `json:"lastModifiedAt"`
}

// Action is a POST action of a type, such as listKeys.
type Action struct {
	// Name is the last segment of the path, such as listKeys.
	Name string
	// Permission is the action a role must grant; empty: {type}/{name}/action.
	Permission string
	// Absent says that the resource need not exist.
	Absent bool
	Run    func(ctx context.Context, call Call) (any, error)
}

// NoContent is the result of an action that is answered with 204.
type NoContent struct{}

// Call is one invocation of an action.
type Call struct {
	Resource   Resource // the one the action is posted to; only its ID where the action may be Absent and it is
	Caller     Caller
	APIVersion string
	Query      url.Values
	Body       json.RawMessage // nil when there was none
}

// DecodeBody reads the call's JSON body; none leaves into as it is.
func (c Call) DecodeBody(into any) error {
	if len(c.Body) == 0 {
		return nil
	}
	if err := json.Unmarshal(c.Body, into); err != nil {
		return badBody(err)
	}
	return nil
}

// Collection is the last segment of the type's name.
func (t Type) Collection() string { return t.Name[strings.LastIndexByte(t.Name, '/')+1:] }

// ActionOf names the action of a verb on a type, such as read: the type's name
// and the verb, but for resource groups, whose actions have a name of their own.
func ActionOf(typeName, verb string) string {
	if strings.EqualFold(typeName, GroupType) {
		typeName = "Microsoft.Resources/subscriptions/resourceGroups"
	}
	return typeName + "/" + verb
}

// ParentType is the type of the resource that holds one of this type, or "".
func (t Type) ParentType() string {
	if strings.Count(t.Name, "/") < 2 {
		return ""
	}
	return t.Name[:strings.LastIndexByte(t.Name, '/')]
}

// CheckAPIVersion takes a version of the type's table, or one later than all of
// them, and refuses others as Resource Manager does.
func (t Type) CheckAPIVersion(version string) error {
	if version == "" {
		return fault.E(fault.Invalid, "MissingApiVersionParameter",
			"The api-version query parameter (?api-version=) is required for all requests.")
	}
	known := slices.ContainsFunc(t.APIVersions, func(v string) bool { return strings.EqualFold(v, version) })
	if known || laterThanAll(version, t.APIVersions) {
		return nil
	}
	return fault.E(fault.Invalid, "NoRegisteredProviderFound",
		"No registered resource provider found for API version '%s' and type '%s'. The supported api-versions are '%s'.",
		version, t.Name, strings.Join(t.APIVersions, ", ")).At("api-version")
}

// laterThanAll reports whether version is a date (with or without -preview)
// after every one of known.
func laterThanAll(version string, known []string) bool {
	date, suffix, _ := strings.Cut(strings.ToLower(version), "-preview")
	if suffix != "" || len(date) != len(time.DateOnly) {
		return false
	}
	if _, err := time.Parse(time.DateOnly, date); err != nil {
		return false
	}
	for _, v := range known {
		if date <= v[:min(len(v), len(date))] {
			return false
		}
	}
	return true
}

func badBody(err error) error {
	return fault.E(fault.Invalid, "InvalidRequestContent",
		"The request content was invalid and could not be deserialized: '%s'.", err.Error())
}
