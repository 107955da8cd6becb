package page

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lapis/armid"
	"lapis/rbac"
	"lapis/telemetry"
)

// What the page is made of has nothing from elsewhere, and makes no markup of data.
func TestThePageHasNothingFromElsewhereAndMakesNoMarkup(t *testing.T) {
	markup := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|DOMParser|createContextualFragment|srcdoc|setHTML|localStorage|sessionStorage|\.cookie`)
	outside := regexp.MustCompile(`(?i)https?://[^"'\s]+|//[a-z0-9.-]+\.[a-z]{2,}/|@import|url\(`)
	inline := regexp.MustCompile(`(?i)<script(?:>| [^>]*[^>]>[^<])|<style|\sstyle=|\son[a-z]+=`)
	files := 0
	err := fs.WalkDir(static, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		data, err := static.ReadFile(name)
		text := strings.ReplaceAll(string(data), "http://www.w3.org/2000/svg", "")
		if strings.HasSuffix(name, ".js") {
			if found := markup.FindString(text); found != "" {
				t.Errorf("%s has %q", name, found)
			}
		}
		if found := outside.FindString(text); found != "" {
			t.Errorf("%s leads to %q", name, found)
		}
		if found := inline.FindString(text); found != "" && strings.HasSuffix(name, ".html") {
			t.Errorf("%s has %q, which its policy forbids", name, found)
		}
		return err
	})
	if err != nil || files < 4 {
		t.Errorf("%d files: %v", files, err)
	}
}

func TestEveryAnswerIsGuarded(t *testing.T) {
	f := &Face{rows: map[string]row{}}
	for _, r := range f.table() {
		f.rows[r.path] = r
	}
	for _, path := range []string{"/page", "/page/page.js", "/page/page.css", "/page/icon.svg", "/page/state", "/page/log", "/page/none"} {
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		h := w.Header()
		policy := h.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} {
			if !slices.Contains(strings.Split(policy, "; "), part) {
				t.Errorf("%s: the policy lacks %s: %s", path, part, policy)
			}
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-store" || h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: %v", path, h)
		}
		if want := f.rows[path].file != ""; want != (w.Code == 200) || want && w.Body.Len() == 0 {
			t.Errorf("%s: %d, %d bytes", path, w.Code, w.Body.Len())
		}
	}
}

// With thousands of endpoints at zero, the few that are not are shown, and any
// other is found by name.
func TestOnlyEndpointsWithSomethingToTellAreShown(t *testing.T) {
	var running telemetry.State
	for n := range 10_000 {
		running.Endpoints = append(running.Endpoints, telemetry.Endpoint{Name: fmt.Sprintf("Many-%05d", n), Deployments: []telemetry.Deployment{{Name: "blue", Asleep: true}}})
	}
	records := found{names: map[string]troubled{}}
	if names, left := choose(running, records, ""); len(names) != 0 || left != 10_000 {
		t.Errorf("all at zero: %d shown, %d left", len(names), left)
	}
	running.Endpoints[17].Deployments[0] = telemetry.Deployment{Name: "blue", Wanted: 1, Ready: 1}
	running.Endpoints[4711].Deployments[0].Queued = 1
	records.names["many-00005"] = troubled{failed: true}
	records.names["never-made"] = troubled{changing: true}
	want := []string{"many-00005", "many-00017", "many-04711", "never-made"}
	if names, left := choose(running, records, ""); !slices.Equal(names, want) || left != 10_001-4 {
		t.Errorf("shown %v, %d left", names, left)
	}
	if names, left := choose(running, records, "ny-0999"); len(names) != 10 || names[0] != "many-09990" || left != 10_001-10 {
		t.Errorf("searched %v, %d left", names, left)
	}
	if names, _ := choose(running, records, "blue"); len(names) != mostEndpoints || !slices.Contains(names, "many-00005") || !slices.Contains(names, "many-00017") {
		t.Errorf("by deployment: %v", names)
	}
	for n := range 100 { // more trouble than fits: failures first
		records.names[fmt.Sprintf("a-changing-%03d", n)] = troubled{changing: true}
	}
	if names, _ := choose(running, records, ""); len(names) != mostEndpoints || !slices.Contains(names, "many-00005") {
		t.Errorf("the failed one is not among %v", names)
	}
	running.Endpoints, records.names = running.Endpoints[:mostEndpoints], map[string]troubled{}
	if names, left := choose(running, records, ""); len(names) != mostEndpoints || left != 0 {
		t.Errorf("few: %d shown, %d left", len(names), left)
	}
}

func TestRefusalsAreKeptOnceAndTheLatest(t *testing.T) {
	var r Refusals
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	query := func(n int) rbac.Query {
		return rbac.Query{PrincipalID: "p", Action: "A/b/read", Scope: armid.MustParse(fmt.Sprintf("/subscriptions/S/resourceGroups/g%d", n)), Plane: "blob"}
	}
	for n := range 3 * keepRefusals {
		r.Add(query(n), began.Add(time.Duration(n)*time.Second))
	}
	again := query(3*keepRefusals - 2)
	again.Action, again.PrincipalID = "a/B/READ", "P"
	for range 5 {
		r.Add(again, began.Add(time.Hour))
	}
	r.Add(rbac.Query{PrincipalID: "p", Action: "a", Scope: armid.MustParse("/subscriptions/" + strings.Repeat("x", longestScope))}, began.Add(2*time.Hour))
	list := r.Latest()
	if len(list) != keepRefusals {
		t.Fatalf("%d kept", len(list))
	}
	if first := list[0]; first.Times != 6 || !first.Query.Scope.Equal(again.Scope) || !first.Last.Equal(began.Add(time.Hour)) {
		t.Errorf("the latest: %+v", first)
	}
	if last := list[len(list)-1]; !last.Query.Scope.Equal(query(2 * keepRefusals).Scope) {
		t.Errorf("the oldest that is kept: %+v", last)
	}
}

func TestRefusalsAreToldBySeveralAtOnce(t *testing.T) {
	var r Refusals
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for i := range 60 {
				r.Add(rbac.Query{PrincipalID: fmt.Sprint(n), Action: "a", Scope: armid.ResourceGroup("s", fmt.Sprint(i%50))}, time.Unix(int64(i), 0))
				r.Latest()
			}
		})
	}
	wg.Wait()
	if n := len(r.Latest()); n != keepRefusals {
		t.Errorf("%d kept", n)
	}
}
