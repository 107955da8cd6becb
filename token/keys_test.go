package token

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lapis/fault"
	"lapis/secret"
	"lapis/store"
	"lapis/store/memory"
)

func roles(t *testing.T, i *Issuer) (byRole map[role][]string) {
	t.Helper()
	set, err := i.keys.set()
	if err != nil {
		t.Fatal(err)
	}
	byRole = map[role][]string{}
	for _, r := range set.records {
		byRole[r.Role] = append(byRole[r.Role], r.KID)
	}
	return byRole
}

func published(t *testing.T, i *Issuer) map[string]bool {
	t.Helper()
	var doc struct {
		Keys []struct {
			KID string `json:"kid"`
			D   string `json:"d"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(i.JWKS(), &doc); err != nil {
		t.Fatal(err)
	}
	kids := map[string]bool{}
	for _, k := range doc.Keys {
		if k.D != "" {
			t.Fatal("a private exponent is published")
		}
		kids[k.KID] = true
	}
	return kids
}

// Tokens are minted every hour, one of them never from the cache, while the keys rotate by themselves and by
// hand; as long as a token has not expired it must verify, and with a key that
// was published at least a day before it signed.
func TestValidTokenIsNeverRejectedAcrossRotations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := open(t, withRotation(30*time.Hour))
		synctest.Wait() // the next key is made
		type minted struct {
			raw     string
			expires time.Time
		}
		var live []minted
		publishedAt := map[string]time.Time{}
		signers := map[string]bool{}
		start := time.Now()
		for hour := range 20 * 24 {
			for kid := range published(t, i) {
				if _, known := publishedAt[kid]; !known {
					publishedAt[kid] = time.Now()
				}
			}
			for _, req := range []Request{{}, {Principal: app(), Client: Secret}, {Lifetime: 24*time.Hour - time.Duration(hour)*time.Second}} {
				tok := mint(t, i, req)
				live = append(live, minted{tok.Raw.Reveal(), tok.ExpiresAt})
				signers[tok.kid] = true
				if !published(t, i)[tok.kid] {
					t.Fatal("signed by a key that is not published")
				}
				if since := time.Since(publishedAt[tok.kid]); since < publishFor-lookEvery && time.Since(start) > publishFor {
					t.Fatalf("hour %d: signed by a key published %s ago", hour, since)
				}
			}
			var still []minted
			for _, m := range live {
				_, err := i.Verify(t.Context(), m.raw, storageAud)
				if time.Now().Before(m.expires) {
					if err != nil {
						t.Fatalf("hour %d: a valid token is rejected: %v", hour, err)
					}
					still = append(still, m)
				} else if time.Now().After(m.expires.Add(skew)) && !fault.Is(err, fault.Unauthenticated) {
					t.Fatalf("hour %d: an expired token is accepted", hour)
				}
			}
			live = still
			time.Sleep(time.Hour)
		}
		if len(signers) < 10 {
			t.Errorf("only %d keys signed in 20 days", len(signers))
		}
		if n := len(published(t, i)); n > 4 {
			t.Errorf("%d keys are still published: old ones are not removed", n)
		}
	})
}

func TestRotationsByHandRejectNothing(t *testing.T) {
	i := open(t)
	var raws []string
	for n := range 8 { // a key costs 0.1 s
		raws = append(raws, mint(t, i, Request{Lifetime: time.Duration(n+1) * time.Minute}).Raw.Reveal())
		if err := i.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		i.seen = seenCache{}
		for _, raw := range raws {
			if _, err := i.Verify(t.Context(), raw, storageAud); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := roles(t, i); len(got[current]) != 1 || len(got[next]) != 1 {
		t.Errorf("roles %v", got)
	}
}

func TestRotationIsPublishedBeforeItSigns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := open(t, withRotation(time.Minute)) // long overdue, but the next key is too young
		synctest.Wait()
		before := roles(t, i)
		time.Sleep(publishFor - 2*time.Hour)
		synctest.Wait()
		if got := roles(t, i); got[current][0] != before[current][0] {
			t.Fatal("rotated to a key that verifiers may not know")
		}
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		got := roles(t, i)
		if got[current][0] != before[next][0] || got[previous][0] != before[current][0] || len(got[next]) != 1 {
			t.Errorf("before %v, after %v", before, got)
		}
	})
}

func TestPreviousKeyKeepsNoPrivateHalf(t *testing.T) {
	i := open(t)
	if err := i.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	set, err := i.keys.set()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range set.records {
		if (r.Role == previous) != (len(r.Sealed) == 0) {
			t.Errorf("%s key: %d sealed bytes", r.Role, len(r.Sealed))
		}
	}
}

func TestRestartKeepsKeysAndTokens(t *testing.T) {
	st := memory.New()
	first := open(t, withStore(st))
	old := mint(t, first, Request{}).Raw.Reveal()
	if err := first.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	raw := mint(t, first, Request{Audience: "https://management.azure.com/"}).Raw.Reveal()
	first.Close()
	kids := published(t, first)

	second := open(t, withStore(st))
	if _, err := second.Verify(t.Context(), raw, "https://management.azure.com"); err != nil {
		t.Error(err)
	}
	if _, err := second.Verify(t.Context(), old, storageAud); err != nil {
		t.Error(err)
	}
	again := published(t, second)
	for kid := range kids {
		if !again[kid] {
			t.Errorf("key %s is gone", kid)
		}
	}
}

func TestTwoIssuersOverOneStoreFollowEachOther(t *testing.T) {
	st := memory.New()
	a, b := open(t, withStore(st)), open(t, withStore(st))
	for range 2 {
		if err := a.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		raw := mint(t, a, Request{Lifetime: time.Hour}).Raw.Reveal()
		if _, err := b.Verify(t.Context(), raw, storageAud); err != nil {
			t.Error(err)
		}
	}
}

func TestRevokeEndsEveryTokenAtOnce(t *testing.T) {
	i := open(t)
	old := mint(t, i, Request{}).Raw.Reveal()
	if _, err := i.Verify(t.Context(), old, storageAud); err != nil {
		t.Fatal(err)
	}
	if err := i.Revoke(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := i.Verify(t.Context(), old, storageAud); !errors.Is(err, errKey) {
		t.Errorf("old token: %v", err)
	}
	fresh := mint(t, i, Request{}).Raw.Reveal()
	if fresh == old {
		t.Fatal("the revoked token is still handed out")
	}
	if _, err := i.Verify(t.Context(), fresh, storageAud); err != nil {
		t.Errorf("new token: %v", err)
	}
}

func TestNextKeyIsMadeAfterEveryChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := open(t)
		for name, change := range map[string]func(context.Context) error{"rotate": i.Rotate, "revoke": i.Revoke} {
			if err := change(t.Context()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := roles(t, i); len(got[current]) != 1 || len(got[next]) != 1 {
				t.Errorf("after %s: %v", name, got)
			}
		}
	})
}

func TestStoreHoldsNoPrivateKeyInClear(t *testing.T) {
	st := memory.New()
	i := open(t, withStore(st))
	if err := i.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	set, err := i.keys.set()
	if err != nil {
		t.Fatal(err)
	}
	plain, err := x509.MarshalPKCS8PrivateKey(set.signing)
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string][]byte{"PKCS #8": plain[:64], "d": set.signing.D.Bytes(), "p": set.signing.Primes[0].Bytes(), "q": set.signing.Primes[1].Bytes()}
	err = st.View(t.Context(), func(r store.Reader) error {
		recs, err := r.List(keyTable, "", "", 0)
		if err != nil {
			return err
		}
		for _, rec := range recs {
			var stored keyRecord
			if err := json.Unmarshal(rec.Value, &stored); err != nil {
				return err
			}
			for name, part := range parts {
				// Byte fields are base64 in the record, so look at both.
				if bytes.Contains(rec.Value, part) || bytes.Contains(stored.Sealed, part) || bytes.Contains(stored.Certificate, part) {
					t.Errorf("record %s holds %s in clear", rec.Key, name)
				}
				if bytes.Contains(rec.Value, []byte(new(big.Int).SetBytes(part).String())) {
					t.Errorf("record %s holds %s in decimal", rec.Key, name)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestKeyUnderAnotherMasterKeyDoesNotOpen(t *testing.T) {
	st := memory.New()
	open(t, withStore(st)).Close()
	other, err := secret.NewSealer(bytes.Repeat([]byte{7}, secret.KeySize), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), Config{Store: st, Sealer: other, TenantID: tenant, Alive: everybody})
	if !errors.Is(err, secret.ErrSeal) || !strings.Contains(err.Error(), "signing key") {
		t.Errorf("got %v", err)
	}
}

func TestKeySealedForAnotherKidDoesNotOpen(t *testing.T) {
	a, err := newKey(sealer(t), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	a.KID = "another"
	if _, err := a.open(sealer(t)); !errors.Is(err, secret.ErrSeal) {
		t.Errorf("got %v", err)
	}
}

func TestOpenWantsWhatItNeeds(t *testing.T) {
	good := Config{Store: memory.New(), Sealer: sealer(t), TenantID: tenant, Alive: everybody}
	noAlive, badTenant := good, good
	noAlive.Alive, badTenant.TenantID = nil, "contoso"
	for name, cfg := range map[string]Config{"no Alive": noAlive, "bad tenant": badTenant} {
		if i, err := Open(t.Context(), cfg); err == nil {
			i.Close()
			t.Errorf("%s: opened", name)
		}
	}
}
