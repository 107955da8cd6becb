package arm

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"lapis/armid"
	"lapis/fault"
	"lapis/operation"
	"lapis/rbac"
	"lapis/resource"
)

// retryAfterMS is the pace at which clients are asked to poll. Clients of the
// azure-core family read it only where there is no Retry-After.
const retryAfterMS = "200"

// typeRoutes are the rows of one resource type.
func (f *Face) typeRoutes(typ *resource.Type) []Route {
	item, collection, parent := patterns(typ.Name)
	actionOf := func(verb string) string { return resource.ActionOf(typ.Name, verb) }
	rows := []Route{
		{Method: http.MethodGet, Path: item, Action: actionOf("read"), Handle: f.get},
		{Method: http.MethodHead, Path: item, Action: actionOf("read"), Handle: f.head},
		{Method: http.MethodGet, Path: collection, Scope: parent, Action: actionOf("read"), Handle: f.list(typ)},
	}
	if !typ.ReadOnly {
		rows = append(rows,
			Route{Method: http.MethodPut, Path: item, Action: actionOf("write"), Handle: f.put(false)},
			Route{Method: http.MethodPatch, Path: item, Action: actionOf("write"), Handle: f.put(true)},
			Route{Method: http.MethodDelete, Path: item, Action: actionOf("delete"), Handle: f.delete},
		)
	}
	if typ.ParentType() == "" && typ.Name != resource.GroupType {
		rows = append(rows, Route{
			Method: http.MethodGet, Path: "/subscriptions/{subscription}/providers/" + typ.Name,
			Scope: "/subscriptions/{subscription}", Action: actionOf("read"), Handle: f.list(typ),
		})
	}
	for _, action := range typ.Actions {
		permission := action.Permission
		if permission == "" {
			permission = actionOf(action.Name + "/action")
		}
		rows = append(rows, Route{
			Method: http.MethodPost, Path: item + "/" + action.Name, Scope: item, Action: permission, Handle: f.act(action),
		})
	}
	for i := range rows {
		rows[i].Version = typ.CheckAPIVersion
	}
	return rows
}

// patterns gives the path of one resource of a type, of its collection, and of
// the scope that holds the collection.
func patterns(typeName string) (item, collection, parent string) {
	parent = "/subscriptions/{subscription}"
	if typeName == resource.GroupType {
		return parent + "/resourceGroups/{resourceGroup}", parent + "/resourceGroups", parent
	}
	parent += "/resourceGroups/{resourceGroup}"
	parts := strings.Split(typeName, "/")
	collection = parent + "/providers/" + parts[0]
	for i, part := range parts[1:] {
		if i > 0 {
			parent = item
			collection = item
		}
		collection += "/" + part
		item = collection + "/{" + part + "}"
	}
	return item, collection, parent
}

func (f *Face) get(r *Request) (Answer, error) {
	found, err := f.Tree.Get(r.Context(), r.ID)
	if err != nil {
		return Answer{}, err
	}
	return f.show(r, found)
}

func (f *Face) head(r *Request) (Answer, error) {
	if _, err := f.Tree.Get(r.Context(), r.ID); err != nil {
		return Answer{}, err
	}
	return Answer{}, nil
}

func (f *Face) show(r *Request, found resource.Resource) (Answer, error) {
	shown, err := f.Tree.Show(r.Context(), found)
	answer := Answer{Status: http.StatusOK, Body: shown, Header: http.Header{}}
	if shown.ETag != "" {
		answer.Header.Set("ETag", shown.ETag)
	}
	return answer, err
}

func (f *Face) list(typ *resource.Type) func(*Request) (Answer, error) {
	return func(r *Request) (Answer, error) {
		if err := f.checkScope(r, typ.FreeParent); err != nil {
			return Answer{}, err
		}
		if typ.Query != nil {
			found, err := typ.Query(r.Context(), r.ID, r.Params)
			if err != nil {
				return Answer{}, err
			}
			return f.page(r, found)
		}
		top, err := topOf(r)
		if err != nil {
			return Answer{}, err
		}
		found, err := f.Tree.ListPage(r.Context(), typ.Name, r.ID, skipToken(r), top+1) // one more tells whether there is a next page
		if err != nil {
			return Answer{}, err
		}
		return f.pageOf(r, found, top)
	}
}

// checkScope refuses a list in a scope that does not exist. Of an asset that is
// made of its versions, only what holds it must.
func (f *Face) checkScope(r *Request, freeParent bool) error {
	if !strings.EqualFold(r.ID.SubscriptionID(), f.Subscription) {
		return fault.E(fault.NotFound, "SubscriptionNotFound", "The subscription '%s' could not be found.", r.ID.SubscriptionID())
	}
	if r.ID.ResourceGroupName() == "" {
		return nil
	}
	scope := r.ID
	if freeParent {
		scope = scope.Parent()
	}
	_, err := f.Tree.Get(r.Context(), scope)
	return err
}

// skipToken is where a list goes on: the key of the last resource shown.
func skipToken(r *Request) string { return strings.ToLower(param(r, "$skiptoken")) }

// page renders a slice of a whole list, with a link to the next. Where the last
// resource shown is gone, it begins again at the first.
func (f *Face) page(r *Request, found []resource.Resource) (Answer, error) {
	top, err := topOf(r)
	if err != nil {
		return Answer{}, err
	}
	after := skipToken(r)
	last := slices.IndexFunc(found, func(res resource.Resource) bool { return res.ID.Key() == after })
	return f.pageOf(r, found[last+1:], top)
}

// pageOf renders the first of what was found, with a link to the next page if
// that is not all.
func (f *Face) pageOf(r *Request, found []resource.Resource, top int) (Answer, error) {
	shown := []resource.Shown{}
	next := ""
	for _, res := range found {
		if len(shown) == top {
			next = f.nextLink(r, strings.ToLower(shown[len(shown)-1].ID))
			break
		}
		s, err := f.Tree.Show(r.Context(), res)
		if err != nil {
			return Answer{}, err
		}
		shown = append(shown, s)
	}
	return Answer{Body: listBody{Value: shown, NextLink: next}}, nil
}

type listBody struct {
	Value    any    `json:"value"`
	NextLink string `json:"nextLink,omitempty"`
}

// pageSize is how many resources one answer holds where the caller does not say.
const pageSize = 1000

func topOf(r *Request) (int, error) {
	for _, name := range []string{"$top", "count"} {
		text := param(r, name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return 0, fault.E(fault.Invalid, "InvalidTopParameter", "The value '%s' of %s is not a number of 1 or more.", text, name).At(name)
		}
		return min(n, pageSize), nil
	}
	return pageSize, nil
}

func (f *Face) nextLink(r *Request, after string) string {
	q := url.Values{}
	for key, values := range r.Params {
		if !strings.EqualFold(key, "$skiptoken") {
			q[key] = values
		}
	}
	q.Set("$skiptoken", after)
	return "https://" + r.Host + r.URL.EscapedPath() + "?" + q.Encode()
}

func (f *Face) put(patch bool) func(*Request) (Answer, error) {
	return func(r *Request) (Answer, error) {
		data, err := f.bodyOf(r)
		if err != nil {
			return Answer{}, err
		}
		if data == nil {
			return Answer{}, fault.E(fault.Invalid, "InvalidRequestContent", "The request has no content; a JSON object was expected.")
		}
		changed, err := f.Tree.Put(r.Context(), resource.Put{
			ID: r.ID, Body: data, Patch: patch, Caller: r.Caller,
			IfMatch: r.Header.Get("If-Match"), IfNoneMatch: r.Header.Get("If-None-Match"),
			Authorize: f.linked(r),
		})
		if err != nil {
			return Answer{}, err
		}
		answer, err := f.show(r, changed.Resource)
		if changed.Created {
			answer.Status = http.StatusCreated
		}
		if created, ok := createdStatus[strings.ToLower(r.ID.Type())]; ok && changed.Created {
			answer.Status = created
		}
		if changed.Operation != nil {
			if patch {
				answer.Status = http.StatusAccepted
			}
			maps.Copy(answer.Header, f.pollHeaders(r, *changed.Operation))
		}
		return answer, err
	}
}

// createdStatus are the types whose creation the real service does not answer
// with 201; their clients take only this.
var createdStatus = map[string]int{"microsoft.storage/storageaccounts": http.StatusOK}

// linked asks for what a change needs besides writing its resource.
func (f *Face) linked(r *Request) func(resource.Access) error {
	return func(access resource.Access) error {
		who := r.Caller.ObjectID
		return f.Roles.RequireLinked(r.Context(),
			rbac.Query{PrincipalID: who, Action: resource.ActionOf(r.ID.Type(), "write"), Scope: r.ID},
			rbac.Query{PrincipalID: who, Action: access.Action, Scope: access.Scope})
	}
}

func (f *Face) delete(r *Request) (Answer, error) {
	op, err := f.Tree.Delete(r.Context(), r.ID, r.Caller)
	if fault.Is(err, fault.NotFound) && r.ID.IsResource() {
		return Answer{Status: http.StatusNoContent}, nil
	}
	if err != nil {
		return Answer{}, err
	}
	if op != nil {
		return Answer{Status: http.StatusAccepted, Header: f.pollHeaders(r, *op)}, nil
	}
	return Answer{Status: http.StatusOK}, nil
}

func (f *Face) act(action resource.Action) func(*Request) (Answer, error) {
	return func(r *Request) (Answer, error) {
		data, err := f.bodyOf(r)
		if err != nil {
			return Answer{}, err
		}
		found, err := f.Tree.Get(r.Context(), r.ID)
		if action.Absent && fault.Is(err, fault.NotFound) {
			found, err = resource.Resource{ID: r.ID}, nil
		}
		if err != nil {
			return Answer{}, err
		}
		result, err := action.Run(r.Context(), resource.Call{
			Resource: found, Caller: r.Caller, APIVersion: r.APIVersion, Query: r.Params, Body: data,
		})
		if err != nil {
			return Answer{}, err
		}
		if op, ok := result.(operation.Operation); ok {
			return Answer{Status: http.StatusAccepted, Header: f.pollHeaders(r, op)}, nil
		}
		switch result.(type) {
		case nil:
			return Answer{Status: http.StatusOK}, nil
		case resource.NoContent:
			return Answer{Status: http.StatusNoContent}, nil
		}
		return Answer{Body: result}, nil
	}
}

// pollHeaders tell a client where to follow an operation.
func (f *Face) pollHeaders(r *Request, op operation.Operation) http.Header {
	target, err := armid.Parse(op.Target)
	if err != nil {
		return nil
	}
	namespace := r.ID.Namespace()
	status, results := "operationsStatus", "operationResults"
	switch {
	case namespace == "":
		namespace = "Microsoft.Resources"
	case target.Is("Microsoft.MachineLearningServices/workspaces") || strings.EqualFold(namespace, "Microsoft.MachineLearningServices"):
		status, results = "mfeOperationsStatus", "mfeOperationResults"
	}
	base := fmt.Sprintf("https://%s/subscriptions/%s/providers/%s/locations/%s/", r.Host, f.Subscription, namespace, f.Location)
	version := "?api-version=" + url.QueryEscape(r.APIVersion)
	return http.Header{
		"Azure-Asyncoperation": {base + status + "/" + op.ID + version},
		"Location":             {base + results + "/" + op.ID + version},
		"X-Ms-Retry-After-Ms":  {retryAfterMS},
	}
}
