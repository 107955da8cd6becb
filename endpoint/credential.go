package endpoint

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"lapis/armid"
	"lapis/fault"
	"lapis/operation"
	"lapis/resource"
	"lapis/scoring"
	"lapis/secret"
	"lapis/store"
)

// What callers of an endpoint prove themselves with (authMode).
const (
	modeKey      = "Key"      // one of two keys that anybody may hold
	modeAMLToken = "AMLToken" // a short-lived token that the endpoint gives out
	modeAADToken = "AADToken" // a token of Entra ID whose holder has a role that lets it score
)

// modeInLogs is a mode as files of endpoints write it.
func modeInLogs(mode string) string {
	switch mode {
	case modeAMLToken:
		return "aml_token"
	case modeAADToken:
		return "aad_token"
	}
	return "key"
}

// scoringAudience is what Entra ID's tokens for scoring are for.
const scoringAudience = "https://ml.azure.com"

// Lives of the endpoint's own tokens. Clients ask for a new one from the
// moment refreshAfterTimeUtc on, which is past the half of life up to which
// one token is given out again.
const (
	tokenLife    = 3 * time.Hour
	tokenRefresh = time.Hour // before its end
)

// tokenAudience names one incarnation of an endpoint: tokens of one that was
// deleted are worth nothing to another of its name.
func tokenAudience(r resource.Resource) string {
	return scoringAudience + r.ID.Key() + "/" + r.UID
}

// authorizer returns what checks the callers of an endpoint in a mode.
func (s *Service) authorizer(r resource.Resource, mode string) (func(context.Context, string) error, error) {
	switch mode {
	case modeAMLToken:
		return s.authorizeAMLToken(r), nil
	case modeAADToken:
		return s.authorizeAADToken(r), nil
	}
	keys, err := s.keys(r)
	if err != nil {
		return nil, err
	}
	return func(_ context.Context, bearer string) error {
		// Both are compared always, so that time tells nothing of which one was near.
		first, second := keys[0].Equal(bearer), keys[1].Equal(bearer)
		if first || second {
			return nil
		}
		return badCredential(r, "key_auth_access_denied", "The key is not one of the endpoint '%s'.")
	}, nil
}

func (s *Service) authorizeAMLToken(r resource.Resource) func(context.Context, string) error {
	audience := tokenAudience(r)
	return func(ctx context.Context, bearer string) error {
		if _, err := s.Verify(ctx, bearer, audience); err != nil {
			if !fault.Is(err, fault.Unauthenticated) {
				return err
			}
			return badCredential(r, "token_auth_access_denied", "The token is not one that the endpoint '%s' gave out, or it has expired.")
		}
		return nil
	}
}

// authorizeAADToken asks at each request, so that a role that goes or comes
// acts at once.
func (s *Service) authorizeAADToken(r resource.Resource) func(context.Context, string) error {
	return func(ctx context.Context, bearer string) error {
		objectID, err := s.Verify(ctx, bearer, scoringAudience)
		if err != nil {
			return err
		}
		err = s.Require(ctx, objectID, scoring.ScoreAction, false, r.ID)
		f := fault.From(err)
		if f == nil || f.Denial == nil {
			return err
		}
		d := f.Denial
		f.Message = fmt.Sprintf("%s It needs the role \"%s\" at %s: %s", f.Message, d.Role, d.RoleScope, d.Remedy)
		return f
	}
}

// badCredential is the fault of a wrong credential, with how to get a right one.
func badCredential(r resource.Resource, code, format string) error {
	name := r.ID.Name()
	return fault.E(fault.Unauthenticated, code, format+" Get one with: az ml online-endpoint get-credentials --name %s", name, name)
}

// checkMode refuses an action on the credentials of another mode.
func checkMode(r resource.Resource, mode, instead string) error {
	var p properties
	if err := r.Decode(&p); err != nil {
		return err
	}
	if p.AuthMode == mode {
		return nil
	}
	return fault.E(fault.Invalid, "BadArgument", "The endpoint '%s' has the authMode %s, so it has no %s.",
		r.ID.Name(), p.AuthMode, instead).At("properties.authMode")
}

func (s *Service) listKeys(_ context.Context, call resource.Call) (any, error) {
	if err := checkMode(call.Resource, modeKey, "keys"); err != nil {
		return nil, err
	}
	keys, err := s.keys(call.Resource)
	if err != nil {
		return nil, err
	}
	return map[string]string{"primaryKey": keys[0].Reveal(), "secondaryKey": keys[1].Reveal()}, nil
}

// token gives out a token of the endpoint's own. Both times are in seconds
// since 1970 (EndpointAuthToken, api-version 2023-04-01).
func (s *Service) token(ctx context.Context, call resource.Call) (any, error) {
	if err := checkMode(call.Resource, modeAMLToken, "tokens of its own"); err != nil {
		return nil, err
	}
	t, err := s.Sign(ctx, call.Caller.ObjectID, tokenAudience(call.Resource), tokenLife)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"accessToken": t.Raw.Reveal(), "tokenType": "Bearer",
		"expiryTimeUtc": t.Expires.Unix(), "refreshAfterTimeUtc": t.Expires.Add(-tokenRefresh).Unix(),
	}, nil
}

// regenerateKeys replaces one key. Clients send the key in force as the new
// one when the user gave none, so that means: make a new one. The old key ends
// at once; the operation that clients follow only does the same again, should
// the platform have stopped in between.
func (s *Service) regenerateKeys(ctx context.Context, call resource.Call) (any, error) {
	if err := checkMode(call.Resource, modeKey, "keys"); err != nil {
		return nil, err
	}
	var asked struct {
		KeyType  string `json:"keyType"`
		KeyValue string `json:"keyValue"`
	}
	if err := call.DecodeBody(&asked); err != nil {
		return nil, err
	}
	i := slices.Index([]string{"primary", "secondary"}, strings.ToLower(asked.KeyType))
	if i < 0 {
		return nil, fault.E(fault.Invalid, "BadArgument", "The keyType '%s' is neither Primary nor Secondary.", asked.KeyType).At("keyType")
	}
	keys, err := s.keys(call.Resource)
	if err != nil {
		return nil, err
	}
	key := secret.New(asked.KeyValue)
	if asked.KeyValue == "" || keys[i].Equal(asked.KeyValue) {
		key, err = s.newKey()
	} else {
		err = checkKey(asked.KeyValue, "keyValue")
	}
	if err != nil {
		return nil, err
	}
	var op operation.Operation
	err = s.Tree.Store.Update(ctx, func(tx store.Tx) (err error) {
		op, err = s.Operations.Create(tx, operation.Operation{Kind: changeKeys, Target: call.Resource.ID.Key(), Caller: call.Caller.ObjectID})
		if err != nil {
			return err
		}
		return resource.Modify(tx, call.Resource.ID, func(r *resource.Resource) error { return s.setKey(r, i, key) })
	})
	if err != nil {
		return nil, err
	}
	defer s.Operations.Launch(op)
	return op, s.publish(ctx, call.Resource.ID)
}

// runChangeKeys makes a change of keys count.
func (s *Service) runChangeKeys(ctx context.Context, run *operation.Run) error {
	id, err := armid.Parse(run.Target)
	if err != nil {
		return err
	}
	return s.publish(ctx, id)
}

// givenKeys are those that a user sets at creation.
type givenKeys struct {
	Primary   string `json:"primaryKey"`
	Secondary string `json:"secondaryKey"`
}

// maxKey bounds a key that a user gives.
const maxKey = 256

// checkKey holds a given key against what a header can carry. It does not repeat it.
func checkKey(key, at string) error {
	if len(key) <= maxKey && !strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return nil
	}
	return fault.E(fault.Invalid, "BadArgument", "A key is 1 to %d printable ASCII characters without spaces.", maxKey).At(at)
}

// firstKeys seals the keys of a new endpoint: those given, else new ones.
func (s *Service) firstKeys(r *resource.Resource, given *givenKeys) error {
	if given == nil {
		given = &givenKeys{}
	}
	for i, text := range []string{given.Primary, given.Secondary} {
		at := "properties.keys." + []string{"primaryKey", "secondaryKey"}[i]
		if err := checkKey(text, at); err != nil {
			return err
		}
		key := secret.New(text)
		if text == "" {
			var err error
			if key, err = s.newKey(); err != nil {
				return err
			}
		}
		if err := s.setKey(r, i, key); err != nil {
			return err
		}
	}
	return nil
}

// private is what an endpoint's record keeps to itself.
type private struct {
	Keys [2][]byte `json:"keys"` // sealed
}

// newKey draws an endpoint key, in the shape of Azure's: 32 letters and digits.
func (s *Service) newKey() (secret.String, error) {
	const alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	text := make([]byte, 0, 32)
	buf := make([]byte, 64)
	for len(text) < 32 {
		if _, err := io.ReadFull(s.Rand, buf); err != nil {
			return secret.String{}, err
		}
		for _, b := range buf {
			if int(b) < 4*len(alphabet) && len(text) < 32 { // else the first letters would be likelier
				text = append(text, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return secret.New(string(text)), nil
}

func keyLabel(r resource.Resource) string { return "endpoint keys " + r.ID.Key() }

// keys opens an endpoint's two keys.
func (s *Service) keys(r resource.Resource) ([2]secret.String, error) {
	var keys [2]secret.String
	var p private
	if err := json.Unmarshal(r.Private, &p); err != nil {
		return keys, fmt.Errorf("reading the keys of %s: %w", r.ID, err)
	}
	for i, sealed := range p.Keys {
		plain, err := s.Sealer.Open(keyLabel(r), sealed)
		if err != nil {
			return keys, fmt.Errorf("opening the keys of %s: %w", r.ID, err)
		}
		keys[i] = secret.New(string(plain))
	}
	return keys, nil
}

// setKey seals a key into an endpoint's record.
func (s *Service) setKey(r *resource.Resource, i int, key secret.String) error {
	var p private
	if len(r.Private) > 0 {
		if err := json.Unmarshal(r.Private, &p); err != nil {
			return err
		}
	}
	sealed, err := s.Sealer.Seal(keyLabel(*r), []byte(key.Reveal()))
	if err != nil {
		return err
	}
	p.Keys[i] = sealed
	r.Private, err = json.Marshal(p)
	return err
}
