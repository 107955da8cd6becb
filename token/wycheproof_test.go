package token

import (
	"encoding/json"
	"io/fs"
	"testing"

	"crypto/rsa"

	"github.com/c2sp/wycheproof"
	"github.com/go-jose/go-jose/v4"
)

// The vectors of C2SP's Wycheproof for JSON Web Signatures. Every group is run,
// whatever its algorithm: what is not RS256 must not pass.
func TestWycheproofSignatures(t *testing.T) {
	data, err := fs.ReadFile(wycheproof.TestVectors, "json_web_signature_test.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		TestGroups []struct {
			Private json.RawMessage `json:"private"`
			Public  json.RawMessage `json:"public"`
			Tests   []struct {
				TcID    int             `json:"tcId"`
				Comment string          `json:"comment"`
				JWS     json.RawMessage `json:"jws"`
				Result  string          `json:"result"`
			} `json:"tests"`
		} `json:"testGroups"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	var accepted, refused, invalid int
	for _, group := range file.TestGroups {
		text := group.Public
		if text == nil {
			text = group.Private
		}
		kid, alg, key := signingKey(t, text)
		for _, tc := range group.Tests {
			raw := compact(tc.JWS)
			_, _, err := openJWS(raw, func(id string) *rsa.PublicKey {
				if id != kid {
					return nil
				}
				return key
			})
			switch {
			case tc.Result == "valid" && err == nil:
				accepted++
			case tc.Result == "valid" && alg == "RS256":
				t.Errorf("%d (%s): a valid RS256 token is refused: %v", tc.TcID, tc.Comment, err)
			case tc.Result == "valid":
				refused++ // HS256, ES256, RS384, RS512, PS256...: algorithms that we pin out
			case err == nil:
				t.Errorf("%d (%s): accepted", tc.TcID, tc.Comment)
			default:
				invalid++
			}
		}
	}
	t.Logf("valid RS256 accepted: %d; valid of other algorithms refused: %d; invalid refused: %d", accepted, refused, invalid)
	if accepted != 8 || invalid < 350 {
		t.Error("fewer vectors ran than there are")
	}
}

// signingKey reads a JWK as our own key list would be read: a key that is not
// for RS256 signatures is none of ours. Every key of the Issuer is by origin a
// signing key, so the use is a matter of the list, not of openJWS.
func signingKey(t *testing.T, text []byte) (kid, alg string, key *rsa.PublicKey) {
	t.Helper()
	var meta struct {
		Kty    string   `json:"kty"`
		KID    string   `json:"kid"`
		Alg    string   `json:"alg"`
		Use    string   `json:"use"`
		KeyOps []string `json:"key_ops"`
	}
	if err := json.Unmarshal(text, &meta); err != nil {
		t.Fatal(err)
	}
	forSigning := (meta.Use == "" || meta.Use == "sig") && (meta.KeyOps == nil || meta.KeyOps[0] == "verify")
	if meta.Kty != "RSA" || !forSigning || meta.Alg != "" && meta.Alg != "RS256" {
		return meta.KID, meta.Alg, nil
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(text); err != nil {
		t.Fatal(err)
	}
	public, ok := jwk.Public().Key.(*rsa.PublicKey)
	if !ok {
		t.Fatalf("key %s is a %T", meta.KID, jwk.Key)
	}
	return meta.KID, meta.Alg, public
}

// compact returns the token of a vector; some are objects, not strings.
func compact(jws json.RawMessage) string {
	var s string
	if json.Unmarshal(jws, &s) == nil {
		return s
	}
	return string(jws)
}
