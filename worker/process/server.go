package process

import (
	"context"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"lapis/worker"
)

// This file is the HTTP contract of azureml-inference-server-http 1.5: routes,
// ids and the bodies of errors, as that server's documentation has them.

const (
	idLimit = 100 // characters of a request id
	json8   = "application/json"

	headerRequestID       = "X-Request-Id"
	headerLegacyID        = "X-Ms-Request-Id"
	headerClientRequestID = "X-Ms-Client-Request-Id"
	headerServerVersion   = "X-Ms-Server-Version"
	headerRunFailed       = "X-Ms-Run-Function-Failed"
	headerRunTime         = "X-Ms-Run-Fn-Exec-Ms"
	headerTraceID         = "Traceid"

	ownFields = 12 // room for as many in a header: ours and the front's
)

// route is one row of the inference server's table.
type route struct {
	path    string
	methods []string
	serve   func(*instance, context.Context, *exchange) (*worker.Response, error)
	logged  bool // in the access lines
}

// exchange is one request on its way through the table.
type exchange struct {
	*worker.Request
	handed bool // to the script, which tells when it has done with it
}

func routes() []route {
	return []route{
		{"/", []string{http.MethodGet, http.MethodHead}, (*instance).serveHealth, false},
		{"/score", []string{http.MethodPost, http.MethodGet}, (*instance).serveScore, true},
		{"/score", []string{http.MethodOptions, http.MethodHead}, (*instance).serveOther, true},
		{"/swagger.json", []string{http.MethodGet, http.MethodHead}, (*instance).serveSwagger, true},
		{"/", []string{http.MethodOptions}, (*instance).serveAllow, false},
		{"/swagger.json", []string{http.MethodOptions}, (*instance).serveAllow, false},
	}
}

// Score answers as the inference server does.
func (i *instance) Score(ctx context.Context, req *worker.Request) (*worker.Response, error) {
	x := exchange{Request: req}
	resp, err := i.route(ctx, &x)
	if !x.handed && req.Done != nil {
		req.Done(0)
	}
	return resp, err
}

// route finds the row of a request and serves it.
func (i *instance) route(ctx context.Context, req *exchange) (*worker.Response, error) {
	select {
	case <-i.ready:
	default:
		return nil, fmt.Errorf("instance %s is not ready", i.spec.Name)
	}
	known, path := false, req.Path
	for strings.Contains(path, "//") { // several slashes are one
		path = strings.ReplaceAll(path, "//", "/")
	}
	for _, row := range i.runtime.routes {
		if row.path != path {
			continue
		}
		known = true
		for _, method := range row.methods {
			if method == req.Method {
				return i.serve(ctx, row, req)
			}
		}
	}
	if known {
		return failed(message(http.StatusMethodNotAllowed, "The method "+req.Method+" is not allowed for "+req.Path+"."), false), nil
	}
	return failed(message(http.StatusNotFound, "There is nothing at "+req.Path+". The script is served at /score."), false), nil
}

// serve checks and adds the ids, and logs the request.
func (i *instance) serve(ctx context.Context, row route, req *exchange) (*worker.Response, error) {
	start := i.runtime.cfg.Now()
	given, problem := idsOf(req.Request)
	var resp *worker.Response
	if problem != "" {
		resp = message(http.StatusRequestHeaderFieldsTooLarge, problem)
		resp.Header.Set(headerRunFailed, "False")
	} else {
		var err error
		if resp, err = row.serve(i, ctx, req); err != nil {
			return nil, err
		}
	}
	given.set(&resp.Header)
	said := i.described()
	if said.Settings.Server != "" {
		resp.Header.Add(headerServerVersion, said.Settings.Server)
	}
	if said.cors != nil {
		said.cors.answer(&resp.Header, req.Method, req.Header)
	}
	if trace := req.Header[headerTraceID]; len(trace) > 0 {
		resp.Header.Add(headerTraceID, strings.Join(trace, ","))
	}
	if row.logged {
		now := i.runtime.cfg.Now()
		size := len(resp.Body)
		if resp.Stream != nil {
			size = -1
		}
		i.console.access(now, req.Method, target(req.Request), resp.Status, now.Sub(start), size)
	}
	return resp, nil
}

// target is the request's path and query, safe to log.
func target(req *worker.Request) string {
	if req.Path == "/score" && req.RawQuery == "" {
		return req.Path
	}
	u := url.URL{Path: req.Path, RawQuery: req.RawQuery}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, u.String())
}

// ids are those that the answer carries; empty ones it does not.
type ids struct{ request, legacy, client string }

func (g ids) set(header *worker.Header) {
	for _, id := range [...]struct{ name, value string }{
		{headerRequestID, g.request}, {headerLegacyID, g.legacy}, {headerClientRequestID, g.client},
	} {
		if id.value != "" {
			header.Set(id.name, id.value)
		}
	}
}

// idsOf gives the ids that the answer carries: x-ms-request-id is the older
// name of the client's id, and is never empty.
func idsOf(req *worker.Request) (g ids, problem string) {
	legacy, client := req.Header.Get(headerLegacyID), req.Header.Get(headerClientRequestID)
	if len(req.ID) > idLimit {
		return ids{}, fmt.Sprintf("x-request-id must not exceed %d characters", idLimit)
	}
	if len(legacy) > idLimit || len(client) > idLimit {
		return ids{request: req.ID},
			fmt.Sprintf("x-ms-request-id and x-ms-client-request-id must not exceed %d characters", idLimit)
	}
	if client == "" {
		client = legacy
	}
	if legacy == "" {
		legacy = client
	}
	if legacy == "" {
		legacy = req.ID
	}
	return ids{request: req.ID, legacy: legacy, client: client}, ""
}

func (i *instance) serveHealth(context.Context, *exchange) (*worker.Response, error) {
	return text("Healthy"), nil
}

// described is what the script has said of itself; it is valid once ready,
// and is not changed after that.
func (i *instance) described() *ready { return &i.said }

// serveOther answers for the script to methods that do not run it, unless it
// wants to see them itself.
func (i *instance) serveOther(ctx context.Context, req *exchange) (*worker.Response, error) {
	switch {
	case i.described().Raw:
		return i.serveScore(ctx, req)
	case req.Method == http.MethodOptions:
		return failed(text(""), false), nil
	}
	return failed(message(http.StatusMethodNotAllowed, "Method not allowed"), false), nil
}

func (i *instance) serveAllow(context.Context, *exchange) (*worker.Response, error) {
	resp := text("")
	resp.Header.Add("Allow", "GET, HEAD, OPTIONS")
	return resp, nil
}

// serveScore runs the script.
func (i *instance) serveScore(ctx context.Context, req *exchange) (*worker.Response, error) {
	body, described := req.Body, i.described()
	switch {
	case described.Raw:
	case req.Method == http.MethodGet:
		body = nil // the query stands for it
	case isForm(req.Request) && len(body) > 0:
		// The real server's web framework takes a form's body for itself.
		i.console.say("W", "azmlinfsrv", "The request's Content-Type is a form's, so run() gets an empty text, as on Azure. Send application/json.")
		body = nil
	}
	if len(body) > maxBody {
		return failed(message(http.StatusRequestEntityTooLarge, fmt.Sprintf("The request body has %d bytes, more than %d.", len(body), maxBody)), false), nil
	}
	var meta []byte
	var err error
	if described.Meta || req.Method == http.MethodGet {
		meta, err = metaOf(req.Request, len(body))
	}
	if err != nil {
		return failed(message(http.StatusRequestHeaderFieldsTooLarge, err.Error()), false), nil
	}
	req.handed = true
	a, err := i.call(ctx, req.Request, meta, body)
	if err != nil {
		return nil, err
	}
	return drawAnswer(a), nil
}

// drawAnswer makes an HTTP answer of the script's.
func drawAnswer(a answer) *worker.Response {
	resp := &worker.Response{Status: a.status, Header: a.header, Body: a.body, Stream: a.stream}
	if resp.Header == nil {
		resp.Header = append(make(worker.Header, 0, ownFields), worker.Field{Name: "Content-Type", Value: json8})
	} else {
		resp.Header.Del("Connection", "Transfer-Encoding", "Keep-Alive", "Upgrade", "Trailer")
		if a.stream == nil { // else it may be known to the script alone
			resp.Header.Del("Content-Length")
		}
	}
	if a.flags&flagRan != 0 {
		resp.RunTime = a.runTime
		resp.Header.Add(headerRunTime, strconv.FormatFloat(milliseconds(a.runTime), 'f', 3, 64))
	}
	if a.header != nil && a.flags&flagFailed == 0 {
		return resp // the script's own, which says what it wants
	}
	return failed(resp, a.flags&flagFailed != 0)
}

// metaOf is what goes with a body of that size to a script that wants it.
func metaOf(req *worker.Request, size int) ([]byte, error) {
	headers := make(map[string]string, len(req.Header)+2)
	for name, values := range req.Visible() {
		if !strings.Contains(name, "_") { // which could stand for another one that has a hyphen there
			headers[title(name)] = latin1(strings.Join(values, ","))
		}
	}
	headers[headerRequestID] = req.ID
	if size > 0 || req.Method == http.MethodPost {
		headers["Content-Length"] = strconv.Itoa(size)
	}
	kind, _, _ := mime.ParseMediaType(req.Header.Get("Content-Type"))
	meta, err := json.Marshal(map[string]any{"method": req.Method, "type": kind, "headers": headers, "path": req.Path, "query": req.RawQuery})
	if err == nil && len(meta) > maxMeta {
		err = fmt.Errorf("the request headers have more than %d bytes", maxMeta)
	}
	return meta, err
}

// title is a header's name as Python's web servers give it: a capital after
// everything that is no letter, digits included.
func title(name string) string {
	if !strings.ContainsAny(name, "0123456789") {
		return name
	}
	b := []byte(name)
	for n := 1; n < len(b); n++ {
		if b[n] >= 'a' && b[n] <= 'z' && b[n-1] >= '0' && b[n-1] <= '9' {
			b[n] -= 'a' - 'A'
		}
	}
	return string(b)
}

// latin1 is a header's value as Python's web servers give it: a character for
// each byte.
func latin1(value string) string {
	if !strings.ContainsFunc(value, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return value
	}
	runes := make([]rune, len(value))
	for n := range len(value) {
		runes[n] = rune(value[n])
	}
	return string(runes)
}

func isForm(req *worker.Request) bool {
	given := req.Header.Get("Content-Type")
	if given == json8 || given == "" {
		return false
	}
	kind, parameters, _ := mime.ParseMediaType(given)
	return kind == "application/x-www-form-urlencoded" || kind == "multipart/form-data" && parameters["boundary"] != ""
}

func text(body string) *worker.Response {
	return &worker.Response{Status: http.StatusOK, Body: []byte(body), Header: worker.Header{{Name: "Content-Type", Value: "text/html; charset=utf-8"}}}
}

// message is the body that the inference server gives to its own errors.
func message(status int, body string) *worker.Response {
	return &worker.Response{Status: status, Body: []byte(`{"message": ` + quoted(body) + "}"), Header: worker.Header{{Name: "Content-Type", Value: json8}}}
}

// quoted is a text in JSON, in ASCII alone.
func quoted(text string) string {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text) // a text cannot fail
	plain := strings.TrimSuffix(out.String(), "\n")
	if !strings.ContainsFunc(plain, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return plain
	}
	out.Reset()
	for _, r := range plain {
		switch {
		case r < utf8.RuneSelf:
			out.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.String()
}

func failed(resp *worker.Response, byRun bool) *worker.Response {
	value := "False"
	if byRun {
		value = "True"
	}
	resp.Header.Set(headerRunFailed, value)
	return resp
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
