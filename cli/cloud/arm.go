package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Object is a JSON object of the wire.
type Object = map[string]any

// Request is a call of the resource manager.
type Request struct {
	Method  string // "" means GET
	Path    string // from the leading slash, or a whole URL of the same host
	Version string // api-version; "" where Path has one
	Query   url.Values
	Body    any
	Header  http.Header
}

// Reply is the resource manager's answer.
type Reply struct {
	*Answer
	Body any // nil where there was none

	request Request // as sent, with the URL in Path
}

// Object returns the body as an object, empty where it is not one.
func (r *Reply) Object() Object {
	object, _ := r.Body.(Object)
	if object == nil {
		object = Object{}
	}
	return object
}

// callTimeout bounds one call, not the wait for a long operation.
const callTimeout = 3 * time.Minute

// Call sends the request and returns the answer, or a *Failure for a status of
// 400 or more.
func (s *Session) Call(ctx context.Context, r Request) (*Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	target, err := s.target(r)
	if err != nil {
		return nil, err
	}
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	r.Path = target
	header := http.Header{"Accept": {"application/json"}}
	for name, values := range r.Header {
		header[http.CanonicalHeaderKey(name)] = values
	}
	if header.Get("x-ms-client-request-id") == "" {
		header.Set("x-ms-client-request-id", uuid.NewString())
	}
	r.Header = header
	body, err := encode(r.Body, header)
	if err != nil {
		return nil, err
	}
	answer, err := s.authorized(ctx, r.Method, target, header, body)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode >= 400 {
		return nil, FailureOf(answer.Response, answer.Data)
	}
	reply := &Reply{Answer: answer, request: r}
	if len(answer.Data) > 0 {
		if err := json.Unmarshal(answer.Data, &reply.Body); err != nil {
			return nil, fmt.Errorf("%s %s answered %d with something that is no JSON", r.Method, target, answer.StatusCode)
		}
	}
	return reply, nil
}

// authorized sends with a bearer token, and once more with a fresh one when a
// kept token is refused.
func (s *Session) authorized(ctx context.Context, method, target string, header http.Header, body []byte) (*Answer, error) {
	for try := 0; ; try++ {
		token, err := s.Token(ctx, AudienceARM)
		if err != nil {
			return nil, err
		}
		header.Set("Authorization", "Bearer "+token.Access)
		answer, err := s.Do(ctx, method, target, header, body)
		if err != nil || answer.StatusCode != http.StatusUnauthorized || try > 0 {
			return answer, err
		}
		s.DropToken(AudienceARM)
	}
}

func encode(body any, header http.Header) ([]byte, error) {
	switch body := body.(type) {
	case nil:
		return nil, nil
	case []byte:
		return body, nil
	}
	header.Set("Content-Type", "application/json")
	return json.Marshal(body)
}

// target makes the URL of a request. A whole URL, such as one that the service
// gave for polling, must lead back to the resource manager: the token goes
// nowhere else.
func (s *Session) target(r Request) (string, error) {
	base, err := url.Parse(s.ARM)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(r.Path)
	if err != nil {
		return "", fmt.Errorf("%q is not a resource path: %v", r.Path, err)
	}
	if u.IsAbs() {
		if !strings.EqualFold(u.Host, base.Host) || u.Scheme != base.Scheme {
			return "", fmt.Errorf("the service points at %s, which is not the resource manager %s", u.Host, base.Host)
		}
	} else {
		if !strings.HasPrefix(r.Path, "/") {
			return "", fmt.Errorf("%q is not a resource path: it must begin with /", r.Path)
		}
		u.Scheme, u.Host = base.Scheme, base.Host
	}
	query := u.Query()
	for name, values := range r.Query {
		query[name] = values
	}
	if r.Version != "" {
		query.Set("api-version", r.Version)
	}
	if len(r.Query) > 0 || r.Version != "" {
		u.RawQuery = query.Encode()
	}
	return u.String(), nil
}

// Get returns the object at the path.
func (s *Session) Get(ctx context.Context, path, version string) (Object, error) {
	reply, err := s.Call(ctx, Request{Path: path, Version: version})
	if err != nil {
		return nil, err
	}
	return reply.Object(), nil
}

// Text returns the answer at the path as it is.
func (s *Session) Text(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	target, err := s.target(Request{Path: path})
	if err != nil {
		return nil, err
	}
	answer, err := s.authorized(ctx, http.MethodGet, target, http.Header{"Accept": {"text/plain"}}, nil)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode >= 400 {
		return nil, FailureOf(answer.Response, answer.Data)
	}
	return answer.Data, nil
}

// maxPages bounds the following of nextLink.
const maxPages = 10_000

// List returns the elements of all pages.
func (s *Session) List(ctx context.Context, path, version string, query url.Values) ([]any, error) {
	all := []any{}
	request := Request{Path: path, Version: version, Query: query}
	for range maxPages {
		reply, err := s.Call(ctx, request)
		if err != nil {
			return nil, err
		}
		page, _ := reply.Object()["value"].([]any)
		all = append(all, page...)
		next, _ := reply.Object()["nextLink"].(string)
		if next == "" {
			return all, nil
		}
		request = Request{Path: next}
	}
	return nil, fmt.Errorf("%s has more than %d pages", path, maxPages)
}

// IsNotFound reports whether the service answered 404.
func IsNotFound(err error) bool {
	var f *Failure
	return errors.As(err, &f) && f.Status == http.StatusNotFound
}

// Directory calls Microsoft Graph and returns the elements of its answer.
func (s *Session) Directory(ctx context.Context, method, path string, body any) ([]any, error) {
	token, err := s.Token(ctx, AudienceGraph)
	if err != nil {
		return nil, err
	}
	header := http.Header{"Accept": {"application/json"}, "Authorization": {"Bearer " + token.Access}}
	var data []byte
	if body != nil {
		if data, err = encode(body, header); err != nil {
			return nil, err
		}
	}
	answer, err := s.Do(ctx, method, s.Graph+path, header, data)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode >= 400 {
		return nil, FailureOf(answer.Response, answer.Data)
	}
	var page struct {
		Value []any `json:"value"`
	}
	if err := json.Unmarshal(answer.Data, &page); err != nil {
		return nil, fmt.Errorf("%s answered something that is no JSON", s.Graph)
	}
	return page.Value, nil
}
