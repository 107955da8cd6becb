package token

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"lapis/fault"
	"lapis/store/memory"
)

// forge is what an attacker, or a mistake of ours, can put a token together from.
type forge struct {
	t      *testing.T
	issuer *Issuer
	set    *keySet
	raw    string // a valid token
	stolen *rsa.PrivateKey
}

func newForge(t *testing.T) *forge {
	t.Helper()
	i := open(t)
	raw := mint(t, i, Request{}).Raw.Reveal()
	stranger, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		t.Fatal(err)
	}
	return &forge{t: t, issuer: i, set: i.keys.current.Load(), raw: raw, stolen: stranger}
}

func b64(data string) string { return base64.RawURLEncoding.EncodeToString([]byte(data)) }

func (f *forge) part(n int) string { return strings.Split(f.raw, ".")[n] }

func (f *forge) text(n int) string {
	data, err := base64.RawURLEncoding.DecodeString(f.part(n))
	if err != nil {
		f.t.Fatal(err)
	}
	return string(data)
}

// signed signs header and body, both JSON text, with the key.
func (f *forge) signed(key *rsa.PrivateKey, header, body string) string {
	raw, err := sign(key, b64(header), []byte(body))
	if err != nil {
		f.t.Fatal(err)
	}
	return raw
}

// ours signs with the real key: what only a fault of our own could make.
func (f *forge) ours(header, body string) string { return f.signed(f.set.signing, header, body) }

// claim returns the valid body with one member replaced by JSON text.
func (f *forge) claim(name, value string) string {
	var m map[string]json.RawMessage
	if err := json.Unmarshal([]byte(f.text(1)), &m); err != nil {
		f.t.Fatal(err)
	}
	m[name] = json.RawMessage(value)
	if value == "" {
		delete(m, name)
	}
	data, err := json.Marshal(m)
	if err != nil {
		f.t.Fatal(err)
	}
	return string(data)
}

func (f *forge) head(members string) string {
	return fmt.Sprintf(`{"typ":"JWT","alg":"RS256","kid":%q%s}`, f.set.kid, members)
}

func (f *forge) alg(alg string) string {
	return fmt.Sprintf(`{"typ":"JWT","alg":%q,"kid":%q}`, alg, f.set.kid)
}

func (f *forge) hmac(alg string, key []byte) string {
	input := b64(f.alg(alg)) + "." + f.part(1)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func (f *forge) pss() string {
	input := b64(f.alg("PS256")) + "." + f.part(1)
	digest := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPSS(rand.Reader, f.set.signing, crypto.SHA256, digest[:], nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func (f *forge) es256() string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	input := b64(f.alg("ES256")) + "." + f.part(1)
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		f.t.Fatal(err)
	}
	sig := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func (f *forge) embedded(member string) string {
	public := f.stolen.PublicKey
	key := fmt.Sprintf(`{"kty":"RSA","n":%q,"e":%q}`,
		base64.RawURLEncoding.EncodeToString(public.N.Bytes()), base64.RawURLEncoding.EncodeToString(big.NewInt(int64(public.E)).Bytes()))
	return f.signed(f.stolen, f.head(fmt.Sprintf(`,%q:%s`, member, key)), f.text(1))
}

func TestAttacksAreRefused(t *testing.T) {
	f := newForge(t)
	h, p, s := f.part(0), f.part(1), f.part(2)
	der, err := x509.MarshalPKIXPublicKey(&f.set.signing.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&f.set.signing.PublicKey)})
	sigBytes, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	flip := func(n int) string {
		b := bytes.Clone(sigBytes)
		b[n] ^= 1
		return h + "." + p + "." + base64.RawURLEncoding.EncodeToString(b)
	}
	plusN := new(big.Int).Add(new(big.Int).SetBytes(sigBytes), f.set.signing.N) // the same number modulo n
	dup := strings.TrimSuffix(f.text(1), "}")

	attacks := map[string]struct {
		raw  string
		want error
	}{
		// form
		"empty":                     {"", errForm},
		"dots only":                 {"..", errHeader},
		"two parts":                 {h + "." + p, errForm},
		"four parts":                {f.raw + ".", errForm},
		"five parts, as a JWE":      {f.raw + ".." + s, errForm},
		"JSON serialization":        {fmt.Sprintf(`{"payload":%q,"protected":%q,"signature":%q}`, p, h, s), errForm},
		"leading space":             {" " + f.raw, errForm},
		"trailing space":            {f.raw + " ", errForm},
		"trailing newline":          {f.raw + "\n", errForm},
		"newline inside":            {h + ".\n" + p + "." + s, errForm},
		"carriage return inside":    {h + "." + p + "." + s[:10] + "\r" + s[10:], errForm},
		"padding on the signature":  {f.raw + "==", errForm},
		"padding on the header":     {h + "=." + p + "." + s, errForm},
		"stray bits in the last":    {f.raw[:len(f.raw)-1] + string(stray(f.raw[len(f.raw)-1])), errForm},
		"standard base64 alphabet":  {h + "." + p + "." + strings.NewReplacer("-", "+", "_", "/").Replace(s) + "+/", errForm},
		"NUL inside":                {h + "." + p + "\x00." + s, errForm},
		"not ASCII":                 {h + "." + p + "." + s + "é", errForm},
		"very long":                 {h + "." + strings.Repeat("A", 1<<20) + "." + s, errForm},
		"header is no JSON":         {b64("JWT") + "." + p + "." + s, errHeader},
		"header is an array":        {b64("[]") + "." + p + "." + s, errHeader},
		"header is null":            {b64("null") + "." + p + "." + s, errHeader},
		"header is not UTF-8":       {b64("{\"alg\":\"RS256\xff\"}") + "." + p + "." + s, errHeader},
		"header and more":           {f.ours(f.head("")+"{}", f.text(1)), errHeader},
		"header nested deep":        {b64(strings.Repeat(`{"a":`, 1000)) + "." + p + "." + s, errHeader},
		"signature missing":         {h + "." + p + ".", errSignature},
		"signature of one byte":     {h + "." + p + ".AA", errSignature},
		"signature first bit":       {flip(0), errSignature},
		"signature last bit":        {flip(len(sigBytes) - 1), errSignature},
		"signature cut short":       {h + "." + p + "." + base64.RawURLEncoding.EncodeToString(sigBytes[:255]), errSignature},
		"signature with zero ahead": {h + "." + p + "." + base64.RawURLEncoding.EncodeToString(append([]byte{0}, sigBytes...)), errSignature},
		"signature plus n":          {h + "." + p + "." + base64.RawURLEncoding.EncodeToString(plusN.Bytes()), errSignature},
		"signature all zero":        {h + "." + p + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 256)), errSignature},
		"signature is one":          {h + "." + p + "." + base64.RawURLEncoding.EncodeToString(append(make([]byte, 255), 1)), errSignature},
		"body of another":           {h + "." + b64(f.claim("oid", `"x"`)) + "." + s, errSignature},
		"body empty":                {h + ".." + s, errSignature},

		// algorithm
		"alg none":                 {b64(f.alg("none")) + "." + p + ".", errAlgorithm},
		"alg none, signature kept": {b64(f.alg("none")) + "." + p + "." + s, errAlgorithm},
		"alg None":                 {b64(f.alg("None")) + "." + p + ".", errAlgorithm},
		"alg NONE":                 {b64(f.alg("NONE")) + "." + p + ".", errAlgorithm},
		"alg nOnE":                 {b64(f.alg("nOnE")) + "." + p + ".", errAlgorithm},
		"alg none with a space":    {b64(f.alg("none ")) + "." + p + ".", errAlgorithm},
		"alg empty":                {b64(f.alg("")) + "." + p + "." + s, errAlgorithm},
		"alg missing":              {b64(`{"typ":"JWT","kid":"`+f.set.kid+`"}`) + "." + p + "." + s, errAlgorithm},
		"alg null":                 {b64(`{"typ":"JWT","alg":null,"kid":"`+f.set.kid+`"}`) + "." + p + "." + s, errAlgorithm},
		"alg a list":               {b64(`{"typ":"JWT","alg":["RS256"],"kid":"`+f.set.kid+`"}`) + "." + p + "." + s, errHeader},
		"alg a number":             {b64(`{"typ":"JWT","alg":256,"kid":"`+f.set.kid+`"}`) + "." + p + "." + s, errHeader},
		"alg rs256":                {f.ours(f.alg("rs256"), f.text(1)), errAlgorithm},
		"alg RS384":                {f.ours(f.alg("RS384"), f.text(1)), errAlgorithm},
		"alg RS1":                  {f.ours(f.alg("RS1"), f.text(1)), errAlgorithm},
		"alg with NUL":             {f.ours(`{"typ":"JWT","alg":"RS256\u0000","kid":"`+f.set.kid+`"}`, f.text(1)), errAlgorithm},
		"ALG besides alg":          {f.ours(f.head(`,"ALG":"none"`), f.text(1)), errHeader},
		"alg twice":                {f.ours(`{"alg":"none","typ":"JWT","alg":"RS256","kid":"`+f.set.kid+`"}`, f.text(1)), errHeader},
		"HS256, public PEM":        {f.hmac("HS256", public), errAlgorithm},
		"HS256, public PKCS #1":    {f.hmac("HS256", pkcs1), errAlgorithm},
		"HS256, public DER":        {f.hmac("HS256", der), errAlgorithm},
		"HS256, modulus":           {f.hmac("HS256", f.set.signing.N.Bytes()), errAlgorithm},
		"HS256, certificate":       {f.hmac("HS256", f.set.records[0].Certificate), errAlgorithm},
		"HS256, empty key":         {f.hmac("HS256", nil), errAlgorithm},
		"RS256 claimed, HMAC made": {f.hmac("RS256", public), errSignature},
		"PS256 with our key":       {f.pss(), errAlgorithm},
		"ES256 of a stranger":      {f.es256(), errAlgorithm},

		// key
		"another's key, our kid":     {f.signed(f.stolen, f.head(""), f.text(1)), errSignature},
		"embedded jwk":               {f.embedded("jwk"), errHeader},
		"embedded JWK":               {f.embedded("JWK"), errHeader},
		"jku":                        {f.signed(f.stolen, f.head(`,"jku":"http://127.0.0.1/keys"`), f.text(1)), errHeader},
		"x5u":                        {f.signed(f.stolen, f.head(`,"x5u":"http://127.0.0.1/cert"`), f.text(1)), errHeader},
		"x5c":                        {f.signed(f.stolen, f.head(`,"x5c":["AAAA"]`), f.text(1)), errHeader},
		"crit":                       {f.ours(f.head(`,"crit":["exp"]`), f.text(1)), errHeader},
		"b64 false":                  {f.ours(f.head(`,"b64":false`), f.text(1)), errHeader},
		"zip":                        {f.ours(f.head(`,"zip":"DEF"`), f.text(1)), errHeader},
		"cty":                        {f.ours(f.head(`,"cty":"JWT"`), f.text(1)), errHeader},
		"kid unknown":                {f.ours(`{"typ":"JWT","alg":"RS256","kid":"other"}`, f.text(1)), errKey},
		"kid missing":                {f.ours(`{"typ":"JWT","alg":"RS256"}`, f.text(1)), errKey},
		"kid empty":                  {f.ours(`{"typ":"JWT","alg":"RS256","kid":""}`, f.text(1)), errKey},
		"kid a path":                 {f.ours(`{"typ":"JWT","alg":"RS256","kid":"../../../dev/null"}`, f.text(1)), errKey},
		"kid SQL":                    {f.ours(`{"typ":"JWT","alg":"RS256","kid":"x' UNION SELECT 'AA"}`, f.text(1)), errKey},
		"kid a command":              {f.ours(`{"typ":"JWT","alg":"RS256","kid":"|id"}`, f.text(1)), errKey},
		"kid a list":                 {f.ours(`{"typ":"JWT","alg":"RS256","kid":["`+f.set.kid+`"]}`, f.text(1)), errHeader},
		"kid twice":                  {f.ours(f.head(`,"kid":"other"`), f.text(1)), errHeader},
		"kid of another case":        {f.ours(`{"typ":"JWT","alg":"RS256","kid":"`+swapCase(f.set.kid)+`"}`, f.text(1)), errKey},
		"kid with a space":           {f.ours(`{"typ":"JWT","alg":"RS256","kid":" `+f.set.kid+`"}`, f.text(1)), errKey},
		"typ missing":                {f.ours(`{"alg":"RS256","kid":"`+f.set.kid+`"}`, f.text(1)), errHeader},
		"typ of another kind of JWT": {f.ours(`{"typ":"dpop+jwt","alg":"RS256","kid":"`+f.set.kid+`"}`, f.text(1)), errHeader},

		// claims, signed by us
		"body no JSON":            {f.ours(f.head(""), "hello"), errClaims},
		"body an array":           {f.ours(f.head(""), "["+f.text(1)+"]"), errClaims},
		"body empty, signed":      {f.ours(f.head(""), ""), errClaims},
		"body and more":           {f.ours(f.head(""), f.text(1)+f.text(1)), errClaims},
		"aud twice":               {f.ours(f.head(""), dup+`,"aud":"https://management.azure.com/"}`), errClaims},
		"oid twice":               {f.ours(f.head(""), dup+`,"oid":"x"}`), errClaims},
		"exp twice":               {f.ours(f.head(""), dup+`,"exp":99999999999}`), errClaims},
		"exp twice by an escape":  {f.ours(f.head(""), dup+`,"\u0065xp":99999999999}`), errClaims},
		"exp missing":             {f.ours(f.head(""), f.claim("exp", "")), errClaims},
		"exp null":                {f.ours(f.head(""), f.claim("exp", "null")), errClaims},
		"exp a string":            {f.ours(f.head(""), f.claim("exp", `"99999999999"`)), errClaims},
		"exp a fraction":          {f.ours(f.head(""), f.claim("exp", `99999999999.5`)), errClaims},
		"exp beyond 64 bits":      {f.ours(f.head(""), f.claim("exp", `1e30`)), errClaims},
		"exp negative":            {f.ours(f.head(""), f.claim("exp", `-1`)), errClaims},
		"exp zero":                {f.ours(f.head(""), f.claim("exp", `0`)), errClaims},
		"nbf missing":             {f.ours(f.head(""), f.claim("nbf", "")), errClaims},
		"nbf null":                {f.ours(f.head(""), f.claim("nbf", "null")), errClaims},
		"tid null":                {f.ours(f.head(""), f.claim("tid", "null")), errClaims},
		"aud missing":             {f.ours(f.head(""), f.claim("aud", "")), errClaims},
		"aud null":                {f.ours(f.head(""), f.claim("aud", "null")), errClaims},
		"aud a list":              {f.ours(f.head(""), f.claim("aud", `["`+storageAud+`"]`)), errClaims},
		"aud empty":               {f.ours(f.head(""), f.claim("aud", `""`)), errClaims},
		"oid missing":             {f.ours(f.head(""), f.claim("oid", "")), errClaims},
		"oid empty":               {f.ours(f.head(""), f.claim("oid", `""`)), errClaims},
		"OID instead of oid":      {f.ours(f.head(""), strings.Replace(f.text(1), `"oid"`, `"OID"`, 1)), errClaims},
		"sub of another":          {f.ours(f.head(""), f.claim("sub", `"x"`)), errClaims},
		"iss missing":             {f.ours(f.head(""), f.claim("iss", "")), errClaims},
		"tid missing":             {f.ours(f.head(""), f.claim("tid", "")), errClaims},
		"ver 2.0":                 {f.ours(f.head(""), f.claim("ver", `"2.0"`)), errClaims},
		"body not UTF-8":          {f.ours(f.head(""), strings.Replace(f.text(1), "https", "https\xff", 1)), errClaims},
		"body with a null ending": {f.ours(f.head(""), f.text(1)+"\x00"), errClaims},
	}
	if len(attacks) < 60 {
		t.Errorf("only %d attacks", len(attacks))
	}
	for name, tc := range attacks {
		t.Run(name, func(t *testing.T) {
			for range 2 { // the second time must not meet a cached first
				claims, err := f.issuer.Verify(t.Context(), tc.raw, storageAud)
				if !fault.Is(err, fault.Unauthenticated) || !fault.HasCode(err, CodeInvalid) {
					t.Fatalf("got %+v, %v", claims, err)
				}
				if !errors.Is(err, tc.want) {
					t.Fatalf("refused for another reason: %v, want %v", err, tc.want)
				}
				if len(tc.raw) > 40 && strings.Contains(err.Error(), tc.raw[:40]) {
					t.Fatalf("the error shows the token: %v", err)
				}
			}
		})
	}
	if _, err := f.issuer.Verify(t.Context(), f.raw, storageAud); err != nil {
		t.Errorf("the valid token: %v", err)
	}
	if _, err := f.issuer.Verify(t.Context(), f.ours(f.head(""), f.text(1)), storageAud); err != nil {
		t.Errorf("the forge itself does not work: %v", err)
	}
}

// stray returns a letter that differs from c only in bits that encode nothing.
func stray(c byte) byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return alphabet[strings.IndexByte(alphabet, c)^1]
}

func swapCase(s string) string {
	if up := strings.ToUpper(s); up != s {
		return up
	}
	return strings.ToLower(s)
}

func TestRefusalSaysWhatToDo(t *testing.T) {
	f := newForge(t)
	now := time.Now().Unix()
	for name, tc := range map[string]struct {
		raw, aud, code, says string
	}{
		"expired":          {f.ours(f.head(""), f.claim("exp", fmt.Sprint(now-31))), storageAud, CodeExpired, "expired at"},
		"not yet valid":    {f.ours(f.head(""), f.claim("nbf", fmt.Sprint(now+90))), storageAud, CodeInvalid, "not valid before"},
		"other audience":   {f.raw, "https://management.azure.com/", CodeAudience, "https://management.azure.com/"},
		"no audience":      {f.raw, "", CodeAudience, storageAud},
		"audience's host":  {f.raw, "https://storage.azure.com.evil.example/", CodeAudience, "evil"},
		"audience's child": {f.raw, "https://storage.azure.com/a", CodeAudience, "storage"},
		"audience's case":  {f.raw, "https://STORAGE.azure.com/", CodeAudience, "STORAGE"},
		"two slashes":      {f.ours(f.head(""), f.claim("aud", `"https://storage.azure.com//"`)), "https://storage.azure.com", CodeAudience, "//"},
		"other tenant":     {f.ours(f.head(""), f.claim("tid", `"`+otherTenant+`"`)), storageAud, CodeTenant, tenant},
		"other issuer":     {f.ours(f.head(""), f.claim("iss", `"https://evil.example/"`)), storageAud, CodeTenant, tenant},
		"v2 issuer":        {f.ours(f.head(""), f.claim("iss", `"https://login.microsoftonline.com/`+tenant+`/v2.0"`)), storageAud, CodeTenant, tenant},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				_, err := f.issuer.Verify(t.Context(), tc.raw, tc.aud)
				if !fault.Is(err, fault.Unauthenticated) || !fault.HasCode(err, tc.code) || !strings.Contains(err.Error(), tc.says) {
					t.Fatalf("got %v", err)
				}
			}
		})
	}
	if _, err := f.issuer.Verify(t.Context(), f.raw); !fault.HasCode(err, CodeAudience) {
		t.Errorf("no audience at all: %v", err)
	}
}

func TestAudienceIgnoresOneTrailingSlash(t *testing.T) {
	i := open(t)
	for _, minted := range []string{"https://storage.azure.com", "https://storage.azure.com/"} {
		raw := mint(t, i, Request{Audience: minted}).Raw.Reveal()
		for _, asked := range []string{"https://storage.azure.com", "https://storage.azure.com/"} {
			claims, err := i.Verify(t.Context(), raw, "https://acct.blob.core.windows.net", asked)
			if err != nil || claims.Audience != minted {
				t.Errorf("minted for %s, asked by %s: %v", minted, asked, err)
			}
		}
	}
}

func TestClaimsComeBack(t *testing.T) {
	i := open(t)
	tok := mint(t, i, Request{Principal: user(), Host: endpointID})
	for range 2 {
		c, err := i.Verify(t.Context(), tok.Raw.Reveal(), storageAud)
		if err != nil {
			t.Fatal(err)
		}
		if c.ObjectID != user().ObjectID || c.ClientID != user().ClientID || c.TenantID != tenant || c.Credential != ManagedIdentity ||
			!strings.EqualFold(c.ResourceID, uaiID) || !strings.EqualFold(c.HostID, endpointID) ||
			!c.ExpiresAt.Equal(tok.ExpiresAt) || !c.IssuedAt.Equal(tok.IssuedAt) || c.TokenID == "" {
			t.Errorf("got %+v", c)
		}
	}
}

func TestExpiryAndStartAreCheckedAtEveryUse(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	clock := newClock(start)
	i := open(t, withNow(clock.now))
	raw := mint(t, i, Request{Lifetime: time.Hour}).Raw.Reveal()
	for _, step := range []struct {
		at   time.Duration
		code string
	}{
		{0, ""},
		{time.Hour + skew - time.Second, ""},
		{time.Hour + skew, CodeExpired},
		{48 * time.Hour, CodeExpired},
		{0, ""}, // the clock was put back: still good
		{-backdate - skew, ""},
		{-backdate - skew - time.Second, CodeInvalid},
	} {
		clock.set(start.Add(step.at))
		_, err := i.Verify(t.Context(), raw, storageAud)
		if (step.code == "") != (err == nil) || err != nil && !fault.HasCode(err, step.code) {
			t.Errorf("at %s: %v, want %q", step.at, err, step.code)
		}
	}
}

func TestDeletedIdentityIsRefusedAtOnce(t *testing.T) {
	alive := true
	i := open(t, withAlive(func(string) bool { return alive }))
	raw := mint(t, i, Request{}).Raw.Reveal()
	if _, err := i.Verify(t.Context(), raw, storageAud); err != nil {
		t.Fatal(err)
	}
	alive = false
	if _, err := i.Verify(t.Context(), raw, storageAud); !fault.Is(err, fault.Unauthenticated) || !strings.Contains(err.Error(), "deleted") {
		t.Errorf("got %v", err)
	}
	if _, err := i.Token(t.Context(), Request{Principal: user(), Audience: storageAud}); !fault.Is(err, fault.NotFound) {
		t.Errorf("a cached token is handed out: %v", err)
	}
}

func TestTokensOfAnotherTenantOrPlatformAreRefused(t *testing.T) {
	st := memory.New()
	ours := open(t, withStore(st))
	sameKeys := open(t, withStore(st), withTenant(otherTenant))
	raw := mint(t, sameKeys, Request{}).Raw.Reveal()
	if _, err := ours.Verify(t.Context(), raw, storageAud); !fault.HasCode(err, CodeTenant) {
		t.Errorf("other tenant: %v", err)
	}
	elsewhere := mint(t, open(t), Request{}).Raw.Reveal()
	if _, err := ours.Verify(t.Context(), elsewhere, storageAud); !errors.Is(err, errKey) {
		t.Errorf("other platform: %v", err)
	}
}

func TestBearer(t *testing.T) {
	for header, want := range map[string]string{
		"Bearer abc":       "abc",
		"bearer abc":       "abc",
		"BEARER a.b-c_d":   "a.b-c_d",
		"Bearer  abc":      "abc",
		"":                 "",
		"Bearer":           "",
		"Bearer ":          "",
		"Bearerabc":        "",
		"Basic abc":        "",
		"Bearer a b":       "",
		"Bearer abc, x":    "",
		"Bearer abc\t":     "",
		"Bearer abc\n":     "",
		"Bearer \"abc\"":   "",
		" Bearer abc":      "",
		"Bearer\tabc":      "",
		"SharedKey a:b":    "",
		"Bearer ab\x00c":   "",
		"Bearer abc d=e":   "",
		"Bearer é":         "",
		"Bearer abc,Basic": "",
	} {
		got, ok := Bearer(header)
		if got != want || ok != (want != "") {
			t.Errorf("%q gives %q, %v", header, got, ok)
		}
	}
}

// RS256 is deterministic and every part has one encoding, so the only text
// that may verify is the very token that was minted.
func FuzzVerify(f *testing.F) {
	i := open(f)
	raw := mint(f, i, Request{}).Raw.Reveal()
	parts := strings.Split(raw, ".")
	for _, seed := range []string{
		raw, "", "..", raw + "=", " " + raw, parts[0] + "." + parts[1] + ".", b64(`{"alg":"none"}`) + "." + parts[1] + ".",
		b64(`{"typ":"JWT","alg":"RS256","kid":"x"}`) + "." + parts[1] + "." + parts[2], "a.b.c", strings.Repeat("A", 9000),
		b64(`{"alg":"RS256","alg":"none"}`) + ".." + parts[2], b64("[]") + "." + b64("{}") + ".AA",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, err := i.Verify(t.Context(), text, storageAud)
		if (err == nil) != (text == raw) {
			t.Fatalf("%q: %v", text, err)
		}
		if err != nil && !fault.Is(err, fault.Unauthenticated) {
			t.Fatalf("%q: %v", text, err)
		}
	})
}

func FuzzParseClaims(f *testing.F) {
	i := open(f)
	body, err := base64.RawURLEncoding.DecodeString(strings.Split(mint(f, i, Request{}).Raw.Reveal(), ".")[1])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"a":1,"a":2}`))
	f.Add([]byte(`{"a":{"b":[]}} `))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseClaims(data)
		if err == nil && (c.ObjectID == "" || c.Audience == "" || !json.Valid(data)) {
			t.Fatalf("%q gives %+v", data, c)
		}
	})
}
