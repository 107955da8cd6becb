package token

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"lapis/fault"
	"lapis/identity"
)

func decode(t *testing.T, raw string, part int) map[string]any {
	t.Helper()
	data, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[part])
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestClaimsAreThoseOfEntra(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 500_000_000, time.UTC)
	i := open(t, withNow(func() time.Time { return at }))
	iss := "https://sts.windows.net/" + tenant + "/"
	base := func(p identity.Principal, acr string) map[string]any {
		return map[string]any{
			"aud": storageAud, "iss": iss, "idp": iss, "idtyp": "app", "ver": "1.0", "tid": tenant,
			"appid": p.ClientID, "appidacr": acr, "oid": p.ObjectID, "sub": p.ObjectID,
			"iat": float64(at.Unix() - 300), "nbf": float64(at.Unix() - 300),
		}
	}
	lower := func(id string) string { return strings.Replace(id, "resourceGroups", "resourcegroups", 1) }
	cases := map[string]struct {
		req  Request
		want func() map[string]any
	}{
		"user-assigned at an endpoint": {
			Request{Principal: user(), Audience: storageAud, Host: endpointID},
			func() map[string]any {
				m := base(user(), "2")
				m["xms_mirid"], m["xms_az_rid"] = lower(uaiID), lower(endpointID)
				m["exp"] = float64(at.Unix() + 24*3600)
				return m
			},
		},
		"system-assigned": {
			Request{Principal: system(), Audience: storageAud, Host: endpointID},
			func() map[string]any {
				m := base(system(), "2")
				m["xms_mirid"] = lower(endpointID)
				m["exp"] = float64(at.Unix() + 24*3600)
				return m
			},
		},
		"application": {
			Request{Principal: app(), Audience: "https://management.azure.com/", Lifetime: time.Hour},
			func() map[string]any {
				m := base(app(), "1")
				m["aud"], m["exp"] = "https://management.azure.com/", float64(at.Unix()+3600)
				return m
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			tok := mint(t, i, tc.req)
			got := decode(t, tok.Raw.Reveal(), 1)
			for _, opaque := range []string{"uti", "rh"} {
				if s, _ := got[opaque].(string); len(s) < 22 {
					t.Errorf("%s = %q", opaque, s)
				}
				delete(got, opaque)
			}
			if diff := cmp.Diff(tc.want(), got); diff != "" {
				t.Error(diff)
			}
			kid := i.keys.current.Load().kid
			if diff := cmp.Diff(map[string]any{"typ": "JWT", "alg": "RS256", "kid": kid, "x5t": kid}, decode(t, tok.Raw.Reveal(), 0)); diff != "" {
				t.Error(diff)
			}
			if tok.ExpiresAt.Unix() != int64(got["exp"].(float64)) || tok.IssuedAt.Unix() != int64(got["iat"].(float64)) || tok.Audience != tc.req.Audience {
				t.Errorf("token says %+v", tok)
			}
		})
	}
}

func TestManagedIdentityTokenLivesADayAndFiveMinutes(t *testing.T) {
	tok := mint(t, open(t), Request{})
	if d := tok.ExpiresAt.Sub(tok.IssuedAt); d != 24*time.Hour+5*time.Minute {
		t.Errorf("exp-iat = %s", d)
	}
}

func TestSecretTokenLivesSixtyToNinetyMinutes(t *testing.T) {
	for _, random := range []uint64{0, 1, 1799, 1800, 1801, 1 << 63, ^uint64(0)} {
		if d := usualLifetime(Secret, random); d < 60*time.Minute || d > 90*time.Minute {
			t.Errorf("%d gives %s", random, d)
		}
	}
	if a, b := usualLifetime(Secret, 0), usualLifetime(Secret, 1800); a != time.Hour || b != 90*time.Minute {
		t.Errorf("bounds %s, %s", a, b)
	}
}

// A library that we did not write must take our tokens with our published keys.
func TestOtherLibraryVerifiesWithPublishedKeys(t *testing.T) {
	i := open(t)
	for range 2 {
		tok := mint(t, i, Request{})
		var set jose.JSONWebKeySet
		if err := json.Unmarshal(i.JWKS(), &set); err != nil {
			t.Fatal(err)
		}
		jws, err := jose.ParseSignedCompact(tok.Raw.Reveal(), []jose.SignatureAlgorithm{jose.RS256})
		if err != nil {
			t.Fatal(err)
		}
		keys := set.Key(jws.Signatures[0].Header.KeyID)
		if len(keys) != 1 {
			t.Fatalf("%d keys for the kid", len(keys))
		}
		if !keys[0].Valid() || !keys[0].IsPublic() || keys[0].Use != "sig" || len(keys[0].Certificates) != 1 {
			t.Errorf("key %+v", keys[0])
		}
		if _, err := jws.Verify(keys[0]); err != nil {
			t.Error(err)
		}
		if err := i.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestThousandCallersShareOneSignature(t *testing.T) {
	i := open(t)
	const callers = 1000
	raws := make([]string, callers)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for n := range callers {
		wg.Go(func() {
			<-start
			tok, err := i.Token(context.Background(), Request{Principal: user(), Audience: storageAud})
			if err != nil {
				t.Error(err)
			}
			raws[n] = tok.Raw.Reveal()
		})
	}
	close(start)
	wg.Wait()
	if n := i.Signatures(); n != 1 {
		t.Errorf("%d signatures", n)
	}
	for _, raw := range raws {
		if raw != raws[0] {
			t.Fatal("callers got different tokens")
		}
	}
}

// A caller that looks into the cache before a signature lands and asks for one
// after it has landed must not make a second.
func TestLateCallerMakesNoSecondSignature(t *testing.T) {
	i := open(t)
	req := Request{Principal: user(), Audience: storageAud, Client: ManagedIdentity}
	first := mint(t, i, req)
	late, err := i.land(req.key(), req)
	if err != nil || late.Raw != first.Raw || i.Signatures() != 1 {
		t.Errorf("%d signatures, %v", i.Signatures(), err)
	}
}

func TestTokenIsReusedUntilHalfItsLife(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	clock := newClock(start)
	i := open(t, withNow(clock.now))
	first := mint(t, i, Request{})
	for _, step := range []struct {
		after time.Duration
		same  bool
	}{{time.Hour, true}, {12*time.Hour - time.Second, true}, {12 * time.Hour, false}} {
		clock.set(start.Add(step.after))
		if got := mint(t, i, Request{}); (got.Raw == first.Raw) != step.same {
			t.Errorf("after %s: same = %v", step.after, !step.same)
		}
	}
	clock.set(start.Add(-48 * time.Hour)) // the clock was put back: a token of the future helps nobody
	got := mint(t, i, Request{})
	if _, err := i.Verify(t.Context(), got.Raw.Reveal(), storageAud); err != nil {
		t.Errorf("after the clock was put back: %v", err)
	}
}

func TestEachPrincipalAudienceAndHostHasItsOwnToken(t *testing.T) {
	i := open(t)
	seen := map[string]string{}
	for _, req := range []Request{
		{Principal: user(), Audience: storageAud},
		{Principal: system(), Audience: storageAud},
		{Principal: user(), Audience: strings.TrimSuffix(storageAud, "/")},
		{Principal: user(), Audience: storageAud, Host: endpointID},
		{Principal: user(), Audience: storageAud, Client: Secret},
		{Principal: user(), Audience: storageAud, Lifetime: time.Minute},
	} {
		raw := mint(t, i, req).Raw.Reveal()
		if was, twice := seen[raw]; twice {
			t.Errorf("%+v got the token of %s", req, was)
		}
		seen[raw] = fmt.Sprintf("%+v", req)
	}
}

func TestRequestsThatMakeNoTokenAreRefused(t *testing.T) {
	i := open(t, withAlive(func(id string) bool { return id != system().ObjectID }))
	person := user()
	person.Kind = identity.User
	for name, tc := range map[string]struct {
		req  Request
		kind fault.Kind
	}{
		"deleted principal": {Request{Principal: system(), Audience: storageAud}, fault.NotFound},
		"user":              {Request{Principal: person, Audience: storageAud}, fault.NotImplemented},
		"no audience":       {Request{Principal: user()}, fault.Invalid},
		"long audience":     {Request{Principal: user(), Audience: strings.Repeat("a", 1025)}, fault.Invalid},
		"control character": {Request{Principal: user(), Audience: "https://a\n"}, fault.Invalid},
		"space":             {Request{Principal: user(), Audience: "https://a b"}, fault.Invalid},
		"too long a life":   {Request{Principal: user(), Audience: storageAud, Lifetime: 25 * time.Hour}, fault.Invalid},
		"negative life":     {Request{Principal: user(), Audience: storageAud, Lifetime: -1}, fault.Invalid},
	} {
		if _, err := i.Token(t.Context(), tc.req); !fault.Is(err, tc.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTokenDoesNotPrint(t *testing.T) {
	tok := mint(t, open(t), Request{})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if strings.Contains(fmt.Sprintf(verb, tok), tok.Raw.Reveal()[:20]) {
			t.Errorf("%s shows the token", verb)
		}
	}
}

func TestCachesAreBounded(t *testing.T) {
	now := time.Now()
	var minted mintCache
	var verified seenCache
	for n := range maxMinted + 100 {
		minted.put(fmt.Sprint(n), Token{IssuedAt: now.Add(-time.Minute), ExpiresAt: now.Add(time.Hour)}, now)
		verified.put([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}, seen{claims: Claims{ExpiresAt: now.Add(time.Hour)}}, now)
	}
	if n := len(minted.tokens); n > maxMinted || n < maxMinted/2 {
		t.Errorf("%d minted tokens kept", n)
	}
	if n := len(verified.tokens); n > maxSeen || n < maxSeen/2 {
		t.Errorf("%d verified tokens kept", n)
	}
}

// The platform asks this at every request of every plane.
func TestVerifyingAgainDoesNotCopyTheToken(t *testing.T) {
	i := open(t)
	raw := mint(t, i, Request{}).Raw.Reveal()
	if n := testing.AllocsPerRun(200, func() {
		if _, err := i.Verify(t.Context(), raw, storageAud); err != nil {
			t.Fatal(err)
		}
	}); n > 1 { // the one is not of the token's size
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMint(b *testing.B) {
	i := open(b)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		mint(b, i, Request{Audience: fmt.Sprintf("https://a%d.example", n)})
	}
}

// The floor of BenchmarkMint: nothing but the signature.
func BenchmarkBareSignature(b *testing.B) {
	set := open(b).keys.current.Load()
	body := []byte(`{"aud":"https://storage.azure.com/"}`)
	for b.Loop() {
		if _, err := sign(set.signing, set.header, body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMintCached(b *testing.B) {
	i := open(b)
	mint(b, i, Request{})
	b.ReportAllocs()
	for b.Loop() {
		mint(b, i, Request{})
	}
}

// The floor of BenchmarkVerify: nothing but the signature.
func BenchmarkBareVerification(b *testing.B) {
	i := open(b)
	set := i.keys.current.Load()
	raw := mint(b, i, Request{}).Raw.Reveal()
	dot := strings.LastIndexByte(raw, '.')
	signature, err := base64.RawURLEncoding.DecodeString(raw[dot+1:])
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		digest := sha256.Sum256([]byte(raw[:dot]))
		if err := rsa.VerifyPKCS1v15(&set.signing.PublicKey, crypto.SHA256, digest[:], signature); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	i := open(b)
	raw := mint(b, i, Request{}).Raw.Reveal()
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			i.seen = seenCache{}
			if _, err := i.Verify(b.Context(), raw, storageAud); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("again", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := i.Verify(b.Context(), raw, storageAud); err != nil {
				b.Fatal(err)
			}
		}
	})
}
