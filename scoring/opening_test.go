package scoring

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
)

// asked is what the front answers to a wrong key at a host: 401 shows that the
// endpoint was found.
func asked(ctx context.Context, f *Front, host string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	f.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodPost, "https://"+host+"/score", nil))
	return w
}

func TestRequestsWaitWhileTheTableIsFilled(t *testing.T) {
	there := Endpoint{Name: "there", Authorize: func(context.Context, string) error { return nil }}
	for name, c := range map[string]struct {
		host   string
		filled bool // the endpoint comes into the table
		opened []bool
		status int
	}{
		"it comes":               {"there.example", true, []bool{true}, http.StatusUnauthorized},
		"it does not exist":      {"nothere.example", true, []bool{true}, http.StatusNotFound},
		"the start fails":        {"there.example", false, []bool{false}, http.StatusServiceUnavailable},
		"the start takes long":   {"there.example", false, nil, http.StatusServiceUnavailable},
		"opened twice, then not": {"nothere.example", false, []bool{true, false}, http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &Front{}
				opened := f.Opening()
				got := make(chan *httptest.ResponseRecorder, 1)
				go func() { got <- asked(t.Context(), f, c.host) }()
				synctest.Wait()
				select {
				case w := <-got:
					t.Fatalf("answered at once: %d %s", w.Code, w.Body)
				default:
				}
				if c.filled {
					if err := f.Set("there.example", there); err != nil {
						t.Fatal(err)
					}
				}
				for _, complete := range c.opened {
					opened(complete)
				}
				w := <-got
				if w.Code != c.status {
					t.Errorf("%d %s, want %d", w.Code, w.Body, c.status)
				}
				if again := w.Header().Get("Retry-After"); (again != "") != (c.status == http.StatusServiceUnavailable) {
					t.Errorf("Retry-After %q", again)
				}
			})
		})
	}
}

func TestWaitForTheTableEndsWithItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &Front{OnEvent: func(_ context.Context, e Event) {
			if e.Status != statusClientGone {
				t.Errorf("status %d", e.Status)
			}
		}}
		defer f.Opening()(true)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		asked(ctx, f, "there.example")
	})
}
