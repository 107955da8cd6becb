package lapis_test

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"
)

const (
	storageHost  = "https://storage.azure.com"
	registryHost = "https://containerregistry.azure.net"
	graphHost    = "https://graph.microsoft.com"
)

// plane is a door that takes an access token of the tenant.
type plane struct {
	name     string
	audience string
	wrong    string // an audience of another plane
	send     func(bearer string) answer
	ok       int
	refusal  func(answer) string // the code of a refusal
	// codes by case; "" names the usual one
	codes map[string]string
}

func jsonCode(path string) func(answer) string {
	return func(a answer) string { return a.str(path) }
}

func ociCode(a answer) string {
	list, _ := a.json["errors"].([]any)
	if len(list) == 0 {
		return ""
	}
	first, _ := list[0].(map[string]any)
	return fmt.Sprint(first["code"])
}

// bearer makes the header, none for "".
func bearerHeader(token string, more ...string) map[string]string {
	h := map[string]string{}
	if token != "" {
		h["Authorization"] = "Bearer " + token
	}
	for i := 0; i+1 < len(more); i += 2 {
		h[more[i]] = more[i+1]
	}
	return h
}

func (p *platform) registryHost() string {
	ws := p.must(p.arm("GET", p.workspace(), mlVersion, nil), 200)
	id := ws.str("properties.containerRegistry")
	return id[strings.LastIndexByte(id, '/')+1:] + ".azurecr.io"
}

func (p *platform) exchange(host, token string) answer {
	form := url.Values{"grant_type": {"access_token"}, "service": {host}}
	if token != "" {
		form.Set("access_token", token)
	}
	return p.do("POST", "https://"+host+"/oauth2/exchange", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, []byte(form.Encode()))
}

func (p *platform) planes() []plane {
	registry := p.registryHost()
	return []plane{{
		name: "resource manager", audience: armHost, wrong: storageHost, ok: 200,
		send: func(bearer string) answer {
			return p.do("GET", armHost+p.workspace()+"?api-version="+mlVersion, bearerHeader(bearer), nil)
		},
		refusal: jsonCode("error.code"),
		codes: map[string]string{
			"": "InvalidAuthenticationToken", "none": "AuthenticationFailed", "expired": "ExpiredAuthenticationToken",
			"audience": "InvalidAuthenticationTokenAudience", "tenant": "InvalidAuthenticationTokenTenant",
		},
	}, {
		name: "blob", audience: storageHost, wrong: armHost, ok: 200,
		send: func(bearer string) answer {
			return p.do("GET", "https://planes.blob.core.windows.net/box/hello.txt", bearerHeader(bearer, "x-ms-version", "2021-12-02"), nil)
		},
		refusal: func(a answer) string { return a.header.Get("x-ms-error-code") },
		codes:   map[string]string{"": "InvalidAuthenticationInfo", "none": "NoAuthenticationInformation"},
	}, {
		name: "registry exchange", audience: registryHost, wrong: storageHost, ok: 200,
		send:    func(bearer string) answer { return p.exchange(registry, bearer) },
		refusal: ociCode,
		codes:   map[string]string{"": "UNAUTHORIZED", "none": "UNSUPPORTED"}, // without the parameter the form is incomplete: 400
	}, {
		name: "graph", audience: graphHost, wrong: armHost, ok: 200,
		send: func(bearer string) answer {
			return p.do("GET", graphHost+"/v1.0/servicePrincipals", bearerHeader(bearer), nil)
		},
		refusal: jsonCode("error.code"),
		codes:   map[string]string{"": "InvalidAuthenticationToken"},
	}}
}

// Each row of every plane is refused, and the same request with a good token is
// not: so no row can pass because the request is wrong in another way.
func TestEveryPlaneRefusesTokensThatAreNotGood(t *testing.T) {
	p := start(t, t.TempDir())
	account := p.storage("planes")
	keys := p.jwks()
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, pl := range p.planes() {
		t.Run(pl.name, func(t *testing.T) {
			principal := p.identity("who-"+strings.ReplaceAll(pl.name, " ", "-"), account)
			mint := func(audience, tenant string, at time.Time) string {
				token, err := p.server.Mint(principal, audience, tenant, at)
				if err != nil {
					t.Fatal(err)
				}
				return token
			}
			now := time.Now()
			good := mint(pl.audience, "", now)
			if a := pl.send(good); a.status != pl.ok {
				t.Fatalf("a good token: %d %s", a.status, a.text)
			}
			kid := keys.kid(good)
			for _, c := range []struct{ name, token string }{
				{"none", ""},
				{"garbage", "garbage"},
				{"three parts of garbage", "e30.e30.e30"},
				{"expired", mint(pl.audience, "", now.Add(-26*time.Hour))},
				{"audience", mint(pl.wrong, "", now)},
				{"tenant", mint(pl.audience, "11111111-2222-3333-4444-555555555555", now)},
				{"alg none", withoutSignature(good)},
				{"alg none, signature kept", withAlg(good, "none") + "." + strings.Split(good, ".")[2]},
				{"HS256 with the public key in PEM", hs256(good, keys.pem(t, kid))},
				{"HS256 with the public key in DER", hs256(good, keys.der(t, kid))},
				{"another key under our kid", rs256(t, good, other)},
				{"tampered payload", tampered(good, "exp", float64(now.Add(100*time.Hour).Unix()))},
				{"another principal", tampered(good, "oid", p.ownerID())},
				{"signature of another token", strings.Join(append(strings.Split(good, ".")[:2], strings.Split(mint(pl.wrong, "", now), ".")[2]), ".")},
				{"signature cut", good[:len(good)-2]},
				{"twice", good + " " + good},
			} {
				want, ok := pl.codes[c.name]
				if !ok {
					want = pl.codes[""]
				}
				status := 401
				if want == "UNSUPPORTED" {
					status = 400
				}
				if a := pl.send(c.token); a.status != status || pl.refusal(a) != want {
					t.Errorf("%s: %d %q, want %d %q: %s", c.name, a.status, pl.refusal(a), status, want, a.text)
				} else if c.token != "" && len(c.token) > 40 && strings.Contains(a.text, c.token) {
					t.Errorf("%s: the refusal repeats the token", c.name)
				}
			}
			if a := pl.send(good); a.status != pl.ok {
				t.Errorf("the good token after all that: %d %s", a.status, a.text)
			}

			// The identity goes, and its token with it, at once.
			p.must(p.arm("DELETE", identityPath("who-"+strings.ReplaceAll(pl.name, " ", "-")), identityVersion, nil), 200)
			if a := pl.send(good); a.status != 401 || pl.refusal(a) != pl.codes[""] {
				t.Errorf("deleted identity: %d %q: %s", a.status, pl.refusal(a), a.text)
			}
			// Made again under the same name it is another one.
			p.identity("who-"+strings.ReplaceAll(pl.name, " ", "-"), account)
			if a := pl.send(good); a.status != 401 {
				t.Errorf("the token of its predecessor: %d %s", a.status, a.text)
			}
		})
	}
}

const identityVersion = "2023-01-31"

func identityPath(name string) string {
	return "providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + name
}

// identity makes a user-assigned identity that may use every plane, and
// returns its object id.
func (p *platform) identity(name, account string) string {
	p.t.Helper()
	a := p.must(p.arm("PUT", identityPath(name), identityVersion, object{"location": p.info.Location}), 200, 201)
	principal := a.str("properties.principalId")
	p.grant(principal, "Reader", p.group())
	p.grant(principal, "Storage Blob Data Reader", account)
	p.grant(principal, "AcrPush", p.group())
	return principal
}

// The registry's own tokens are refused like those of the tenant, and end with
// the identity that they were made for.
func TestRegistryTokensAreHeldToTheirIdentityAndRegistry(t *testing.T) {
	p := start(t, t.TempDir())
	host := p.registryHost()
	account := p.storage("planesacr")
	principal := p.identity("puller", account)
	second := p.group() + "/providers/Microsoft.ContainerRegistry/registries/secondone"
	p.must(p.arm("PUT", second, "2023-07-01", object{"location": p.info.Location, "sku": object{"name": "Basic"}}), 200, 201)

	tenantToken, err := p.server.Mint(principal, registryHost, "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	access := func(host, refresh string) answer {
		form := url.Values{"grant_type": {"refresh_token"}, "service": {host}, "scope": {"repository:some/image:pull,push"}, "refresh_token": {refresh}}
		return p.do("POST", "https://"+host+"/oauth2/token", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, []byte(form.Encode()))
	}
	refresh := p.must(p.exchange(host, tenantToken), 200).str("refresh_token")
	token := p.must(access(host, refresh), 200).str("access_token")
	foreign := p.must(access("secondone.azurecr.io", p.must(p.exchange("secondone.azurecr.io", tenantToken), 200).str("refresh_token")), 200).str("access_token")
	upload := func(bearer string) answer {
		return p.do("POST", "https://"+host+"/v2/some/image/blobs/uploads/", bearerHeader(bearer), nil)
	}
	p.must(upload(token), 202)
	for _, c := range []struct{ name, token string }{
		{"none", ""}, {"garbage", "garbage"}, {"the tenant's token", tenantToken}, {"the refresh token", refresh},
		{"another registry's", foreign}, {"alg none", withoutSignature(token)}, {"tampered", tampered(token, "exp", 9999999999.0)},
		{"another principal", tampered(token, "sub", p.ownerID())}, {"HS256", hs256(token, []byte(host))},
	} {
		a := upload(c.token)
		if a.status != 401 || ociCode(a) != "UNAUTHORIZED" || !strings.Contains(a.header.Get("Www-Authenticate"), "Bearer realm=") {
			t.Errorf("%s: %d %s", c.name, a.status, a.text)
		}
	}
	p.must(upload(token), 202)
	p.must(p.arm("DELETE", identityPath("puller"), identityVersion, nil), 200)
	if a := upload(token); a.status != 401 && a.status != 403 {
		t.Errorf("access token of a deleted identity: %d %s", a.status, a.text)
	}
	if a := access(host, refresh); a.status < 400 { // a token without any access is no refusal, but opens nothing
		if a := upload(a.str("access_token")); a.status != 401 && a.status != 403 {
			t.Errorf("refresh token of a deleted identity: %d %s", a.status, a.text)
		}
	}
}

// Endpoints are called with their keys and with nothing else.
func TestScoringTakesTheEndpointsKeysOnly(t *testing.T) {
	p := start(t, t.TempDir())
	p.createEndpoint("key-one", nil)
	p.createEndpoint("key-two", nil)
	key := p.key("key-one")
	second := p.must(p.arm("POST", p.workspace()+"/onlineEndpoints/key-one/listKeys", mlVersion, nil), 200).str("secondaryKey")
	for _, good := range []string{key, second} { // without a deployment, what a good key gets is 404
		if a := p.score("key-one", good, "{}"); a.status != 404 {
			t.Fatalf("a good key: %d %s", a.status, a.text)
		}
	}
	owner := p.owner(armHost)
	for _, c := range []struct{ name, header string }{
		{"none", ""}, {"garbage", "Bearer garbage"}, {"another endpoint's key", "Bearer " + p.key("key-two")},
		{"the owner's token", "Bearer " + owner}, {"alg none", "Bearer " + withoutSignature(owner)}, {"half the key", "Bearer " + key[:16]},
		{"key and more", "Bearer " + key + "x"}, {"basic", "Basic " + base64.StdEncoding.EncodeToString([]byte(key+":"))}, {"no scheme", key}, {"empty", "Bearer "},
	} {
		header := map[string]string{"Content-Type": "application/json"}
		if c.header != "" {
			header["Authorization"] = c.header
		}
		a := p.do("POST", "https://key-one."+p.info.Location+".inference.ml.azure.com/score", header, []byte("{}"))
		if a.status != 401 {
			t.Errorf("%s: %d %s", c.name, a.status, a.text)
		}
		if strings.Contains(a.text, key) {
			t.Errorf("%s: the refusal shows the key", c.name)
		}
	}
	p.must(p.arm("POST", p.workspace()+"/onlineEndpoints/key-one/regenerateKeys", mlVersion, object{"keyType": "Primary"}), 202)
	if a := p.score("key-one", key, "{}"); a.status != 401 {
		t.Errorf("a key that was replaced: %d", a.status)
	}
	if a := p.score("key-one", p.key("key-one"), "{}"); a.status != 404 {
		t.Errorf("the key in its place: %d %s", a.status, a.text)
	}
}

// keySet is what the tenant publishes.
type keySet []struct{ Kid, N, E string }

func (p *platform) jwks() keySet {
	p.t.Helper()
	a := p.must(p.do("GET", "https://login.microsoftonline.com/"+p.info.TenantID+"/discovery/v2.0/keys", nil, nil), 200)
	var doc struct{ Keys keySet }
	if err := json.Unmarshal([]byte(a.text), &doc); err != nil || len(doc.Keys) == 0 {
		p.t.Fatalf("keys: %v %s", err, a.text)
	}
	return doc.Keys
}

func (keySet) kid(token string) string {
	return fmt.Sprint(decodePart(token, 0)["kid"])
}

func (k keySet) der(t *testing.T, kid string) []byte {
	t.Helper()
	for _, key := range k {
		if key.Kid != kid {
			continue
		}
		n, err := base64.RawURLEncoding.DecodeString(key.N)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537})
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	t.Fatalf("no key %s is published", kid)
	return nil
}

func (k keySet) pem(t *testing.T, kid string) []byte {
	t.Helper()
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: k.der(t, kid)})
}

func decodePart(token string, i int) map[string]any {
	var m map[string]any
	data, _ := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[i])
	_ = json.Unmarshal(data, &m)
	return m
}

func encodePart(m map[string]any) string {
	data, _ := json.Marshal(m)
	return base64.RawURLEncoding.EncodeToString(data)
}

// withAlg is header and payload under another algorithm.
func withAlg(token, alg string) string {
	header := decodePart(token, 0)
	header["alg"] = alg
	return encodePart(header) + "." + strings.Split(token, ".")[1]
}

func withoutSignature(token string) string { return withAlg(token, "none") + "." }

func hs256(token string, key []byte) string {
	input := withAlg(token, "HS256")
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// rs256 signs header and payload of a token with a key of the attacker's.
func rs256(t *testing.T, token string, key *rsa.PrivateKey) string {
	t.Helper()
	parts := strings.Split(token, ".")
	input := parts[0] + "." + parts[1]
	digest := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// tampered changes a claim and keeps the signature.
func tampered(token, claim string, value any) string {
	parts := strings.Split(token, ".")
	claims := decodePart(token, 1)
	claims[claim] = value
	return parts[0] + "." + encodePart(claims) + "." + parts[2]
}
