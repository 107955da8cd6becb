package lapis_test

import (
	"slices"
	"testing"
	"time"
)

// What checking a caller costs, quickest of many: at most 2 µs for a token
// that was seen before and 60 µs for a new one is what is aimed at. The limits
// here are wider, for machines that do much else.
func TestCheckingACallerIsQuick(t *testing.T) {
	p := start(t, t.TempDir())
	modes := map[string]string{"by-key": "Key", "by-aml": "AMLToken", "by-aad": "AADToken"}
	for name, mode := range modes {
		p.settle(p.putEndpoint(name, object{"authMode": mode}))
	}
	caller, clientID, secret, err := p.server.NewApplication("caller")
	if err != nil {
		t.Fatal(err)
	}
	p.grant(caller, "AzureML Data Scientist", p.endpoint("by-aad"))
	const audience = "https://ml.azure.com"
	for name, bearer := range map[string]string{
		"by-key": p.key("by-key"), "by-aml": p.must(p.post("by-aml", "token", nil), 200).str("accessToken"), "by-aad": p.token(clientID, secret, audience),
	} {
		check := p.server.Authorizer(name)
		quickest := time.Hour
		for range 50 {
			const n = 100
			began := time.Now()
			for range n {
				if err := check(t.Context(), bearer); err != nil {
					t.Fatal(name, err)
				}
			}
			quickest = min(quickest, time.Since(began)/n)
		}
		t.Logf("%s, seen before: %v", modes[name], quickest)
		if quickest > 10*time.Microsecond {
			t.Errorf("checking a caller of %s takes %v", name, quickest)
		}
	}
	var fresh []time.Duration
	check := p.server.Authorizer("by-aad")
	for n := range 50 {
		bearer, err := p.server.Mint(caller, audience, "", time.Now().Add(-time.Duration(n)*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := check(t.Context(), bearer); err != nil {
			t.Fatal(err)
		}
		fresh = append(fresh, time.Since(began))
	}
	t.Logf("AADToken, new: %v", slices.Min(fresh))
	if slices.Min(fresh) > 300*time.Microsecond {
		t.Errorf("checking a new token takes %v", slices.Min(fresh))
	}
}

// A token whose key was withdrawn is refused at the next request, though its
// signature had been seen to be good.
func TestWithdrawnKeyEndsTokensThatWereSeen(t *testing.T) {
	p := start(t, t.TempDir())
	p.settle(p.putEndpoint("withdrawn", object{"authMode": "AMLToken"}))
	token := p.must(p.post("withdrawn", "token", nil), 200).str("accessToken")
	p.must(p.score("withdrawn", token, "{}"), 404) // let in; there is no deployment
	if err := p.server.RevokeKeys(); err != nil {
		t.Fatal(err)
	}
	p.must(p.score("withdrawn", token, "{}"), 401)
	p.tokens = map[string]string{} // the owner's as well
	p.must(p.score("withdrawn", p.must(p.post("withdrawn", "token", nil), 200).str("accessToken"), "{}"), 404)
}
