package arm

import (
	"net/http"
	"time"

	"lapis/armid"
	"lapis/operation"
	"lapis/rbac"
	"lapis/resource"
)

// operationRoutes are where clients follow long-running operations. The row
// needs no role of its own: the handler asks for read at the operation's target.
func (f *Face) operationRoutes() []Route {
	var rows []Route
	base := "/subscriptions/{subscription}/providers/{namespace}/locations/{location}/"
	for _, collection := range []string{"operationsStatus", "mfeOperationsStatus"} {
		rows = append(rows, Route{Method: http.MethodGet, Path: base + collection + "/{operation}", Action: Authenticated, Handle: f.operationStatus})
	}
	for _, collection := range []string{"operationResults", "mfeOperationResults"} {
		rows = append(rows, Route{Method: http.MethodGet, Path: base + collection + "/{operation}", Action: Authenticated, Handle: f.operationResult})
	}
	return rows
}

type operationBody struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Status     string     `json:"status"`
	StartTime  time.Time  `json:"startTime"`
	EndTime    *time.Time `json:"endTime,omitempty"`
	Percent    *float64   `json:"percentComplete,omitempty"`
	Properties any        `json:"properties,omitempty"`
	Error      *errorBody `json:"error,omitempty"`
}

// operationOf reads an operation that the caller may see: its own, or one on a
// resource that it may read.
func (f *Face) operationOf(r *Request) (operation.Operation, error) {
	op, err := f.Operations.Get(r.Context(), r.Vars["operation"])
	if err != nil || op.Caller == r.Caller.ObjectID {
		return op, err
	}
	target, err := armid.Parse(op.Target)
	if err != nil {
		return op, err
	}
	return op, f.Roles.Require(r.Context(), rbac.Query{
		PrincipalID: r.Caller.ObjectID, Action: resource.ActionOf(target.Type(), "read"), Scope: target,
	})
}

func (f *Face) operationStatus(r *Request) (Answer, error) {
	op, err := f.operationOf(r)
	if err != nil {
		return Answer{}, err
	}
	b := operationBody{
		ID: r.URL.Path, Name: op.ID, Status: string(op.Status), StartTime: op.Start, Error: failureOf(op.Error),
	}
	header := http.Header{}
	if op.Status.Done() {
		b.EndTime = &op.End
	} else {
		b.Status = "InProgress"
		header.Set("x-ms-retry-after-ms", retryAfterMS)
	}
	if op.Progress != "" {
		b.Properties = map[string]string{"progress": op.Progress}
	}
	return Answer{Body: b, Header: header}, nil
}

func (f *Face) operationResult(r *Request) (Answer, error) {
	op, err := f.operationOf(r)
	if err != nil {
		return Answer{}, err
	}
	if !op.Status.Done() {
		header := http.Header{}
		header.Set("Location", "https://"+r.Host+r.URL.RequestURI())
		header.Set("x-ms-retry-after-ms", retryAfterMS)
		return Answer{Status: http.StatusAccepted, Header: header}, nil
	}
	if failed := op.Error.Fault(); failed != nil {
		return Answer{}, failed
	}
	target, err := armid.Parse(op.Target)
	if err != nil {
		return Answer{}, err
	}
	found, err := f.Tree.Get(r.Context(), target)
	if err != nil {
		return Answer{Status: http.StatusNoContent}, nil // it was deleted
	}
	return f.show(r, found)
}
