package msi

import (
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"lapis/fault"
)

// The paths of the forms.
const (
	pathAzureML    = "/MSI/auth"
	pathAppService = "/MSI/token"
	pathIMDS       = "/metadata/identity/oauth2/token"
	pathVersions   = "/metadata/versions"
)

// route is a row of the table: who is let in, and what is answered.
type route struct {
	form  Forms
	admit func(*Listener, *http.Request, params) error
	serve func(*Listener, http.ResponseWriter, *http.Request, params) (event, error)
}

// routes lists all paths. Paths are compared without case and without a
// trailing slash, since scripts build them from MSI_ENDPOINT by hand.
func routes() map[string]route {
	return map[string]route{
		strings.ToLower(pathAzureML):    {AzureML, withSecret("secret"), azureMLToken},
		strings.ToLower(pathAppService): {AppService, withSecret("X-IDENTITY-HEADER"), stringToken},
		pathIMDS:                        {IMDS, asMetadata, stringToken},
		pathVersions:                    {IMDS, asMetadataUnversioned, versions},
	}
}

// Operations lists the paths of the route table, sorted; all take GET only.
func Operations() []string { return slices.Sorted(maps.Keys(routes())) }

// event is what the log tells of a request.
type event struct {
	principal, audience string
}

// ServeHTTP answers one request.
func (l *Listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Type", "application/json; charset=utf-8")
	header.Set("X-Content-Type-Options", "nosniff")
	ev, err := l.answer(w, r)
	status := http.StatusOK
	if err != nil {
		status = draw(w, err)
	}
	log := l.server.cfg.Log
	args := []any{"instance", l.in.ID, "path", r.URL.Path, "status", status, "principal", ev.principal, "audience", ev.audience}
	switch {
	case status >= 500:
		log.Error("token request failed", append(args, "err", err)...)
	case err != nil:
		log.Warn("token request refused", append(args, "err", err)...)
	default:
		log.Info("token request answered", args...)
	}
}

func (l *Listener) answer(w http.ResponseWriter, r *http.Request) (event, error) {
	if err := l.direct(r); err != nil {
		return event{}, err
	}
	row, ok := l.server.routes[strings.ToLower(strings.TrimSuffix(r.URL.Path, "/"))]
	if !ok || row.form == IMDS && l.in.Forms&IMDS == 0 {
		return event{}, fault.E(fault.NotFound, "not_found", "There is no token endpoint at %q; MSI_ENDPOINT has the address.", r.URL.Path)
	}
	if r.Method != http.MethodGet {
		return event{}, fault.E(fault.NotAllowed, "method_not_allowed", "The token endpoint takes GET, not %s.", r.Method)
	}
	query, err := parse(r.URL.RawQuery)
	if err != nil {
		return event{}, err
	}
	if err := row.admit(l, r, query); err != nil {
		return event{}, err
	}
	return row.serve(l, w, r, query)
}

// direct refuses what came through a proxy, or from a web page whose name was
// made to resolve to this machine.
func (l *Listener) direct(r *http.Request) error {
	if len(r.Header.Values("X-Forwarded-For")) > 0 {
		return fault.E(fault.Invalid, "bad_request", "Requests with X-Forwarded-For are not answered: ask without a proxy, and set NO_PROXY for this address.")
	}
	if !l.local(r.Host) {
		return fault.E(fault.Invalid, "bad_request", "The Host %q is not the address of this endpoint.", r.Host)
	}
	return nil
}

// local reports whether host, with or without a port, is loopback or the
// listener's own address.
func (l *Listener) local(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	own, ok := l.ln.Addr().(*net.TCPAddr)
	return addr.IsLoopback() || ok && own.AddrPort().Addr().Unmap() == addr.Unmap()
}

// withSecret admits who sends the instance's secret, once, in the header.
func withSecret(name string) func(*Listener, *http.Request, params) error {
	return func(l *Listener, r *http.Request, _ params) error {
		values := r.Header.Values(name)
		if len(values) != 1 || !l.secret.Equal(values[0]) {
			return fault.E(fault.Unauthenticated, "unauthorized", "The header %q does not carry this instance's secret.", name)
		}
		return nil
	}
}

// imdsVersions are those that Azure's instance metadata service lists for tokens.
func imdsVersions() []string {
	return []string{"2018-02-01", "2018-04-02", "2018-10-01", "2019-02-01", "2019-03-11", "2019-04-30", "2019-06-01",
		"2019-06-04", "2019-08-01", "2019-08-15", "2019-11-01", "2020-06-01", "2020-07-15", "2020-09-01", "2020-10-01",
		"2020-12-01", "2021-01-01", "2021-02-01", "2021-03-01", "2021-05-01", "2021-10-01", "2021-11-01", "2021-11-15",
		"2021-12-13", "2023-07-01", "2023-11-15", "2025-04-07"}
}

func asMetadata(l *Listener, r *http.Request, query params) error {
	if err := asMetadataUnversioned(l, r, query); err != nil {
		return err
	}
	version := query["api-version"]
	if version == "" {
		return fault.E(fault.Invalid, "bad_request", "Bad request. api-version was not specified in the request. The newest is %s.", newest()).At("api-version")
	}
	for _, v := range imdsVersions() {
		if v == version {
			return nil
		}
	}
	return fault.E(fault.Invalid, "bad_request", "Bad request. api-version %.40q is invalid or not supported for this endpoint. The newest is %s.", version, newest()).At("api-version")
}

func newest() string { v := imdsVersions(); return v[len(v)-1] }

func asMetadataUnversioned(_ *Listener, r *http.Request, _ params) error {
	if values := r.Header.Values("Metadata"); len(values) != 1 || values[0] != "true" {
		return fault.E(fault.Invalid, "bad_request_102", "Required metadata header not specified")
	}
	return nil
}

// params are query parameters by their name in lower case.
type params map[string]string

func parse(raw string) (params, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, fault.E(fault.Invalid, "invalid_request", "The query string is not well formed.")
	}
	query := params{}
	for name, list := range values {
		key := strings.ToLower(name)
		if _, twice := query[key]; twice || len(list) > 1 {
			return nil, fault.E(fault.Invalid, "invalid_request", "The query parameter %.40q is given more than once.", name).At(name)
		}
		query[key] = list[0]
	}
	return query, nil
}
