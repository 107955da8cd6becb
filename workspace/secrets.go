package workspace

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"lapis/fault"
	"lapis/resource"
	"lapis/secret"
)

// What a datastore is reached with (credentialsType).
const (
	credentialKey  = "AccountKey"
	credentialSAS  = "Sas"
	credentialNone = "None" // every client uses its own identity
)

// secrets are a datastore's, as a PUT brings them.
type secrets struct {
	Type string `json:"secretsType"`
	Key  string `json:"key"`
	SAS  string `json:"sasToken"`
}

// sealedSecret is what a datastore's record keeps of them.
type sealedSecret struct {
	Secret []byte `json:"secret,omitempty"`
}

// check holds credentials against the rules. It repeats nothing of a secret.
func (c *credentials) check() error {
	const at = "properties.credentials"
	if c == nil || c.Type == "" {
		return fault.E(fault.Invalid, "ValidationError", "A datastore needs credentials; their credentialsType is AccountKey, Sas or None.").At(at)
	}
	others := []string{"Certificate", "ServicePrincipal", "KerberosKeytab", "KerberosPassword"}
	if slices.Contains(others, c.Type) {
		return fault.E(fault.NotImplemented, "CredentialsTypeNotSupported", "Credentials of the type %s are not supported yet; use AccountKey, Sas or None.", c.Type).At(at + ".credentialsType")
	}
	if !slices.Contains([]string{credentialKey, credentialSAS, credentialNone}, c.Type) {
		return fault.E(fault.Invalid, "ValidationError", "The credentialsType '%s' is not one of AccountKey, Sas, None, %s.", c.Type, strings.Join(others, ", ")).At(at + ".credentialsType")
	}
	if c.Secrets == nil {
		return nil
	}
	if c.Secrets.Type != "" && c.Secrets.Type != c.Type {
		return fault.E(fault.Invalid, "ValidationError", "The secretsType '%s' does not fit the credentialsType '%s'.", c.Secrets.Type, c.Type).At(at + ".secrets.secretsType")
	}
	if key, err := base64.StdEncoding.DecodeString(c.Secrets.Key); err != nil || c.Secrets.Key != "" && len(key) != 64 {
		return fault.E(fault.Invalid, "ValidationError", "The key is not one of a storage account: 64 bytes in base64.").At(at + ".secrets.key")
	}
	if text := c.Secrets.SAS; len(text) > 4096 || text != "" && !strings.Contains(text, "sig=") || strings.ContainsAny(text, " \r\n") {
		return fault.E(fault.Invalid, "ValidationError", "The sasToken is no shared access signature: a query such as sv=…&sig=….").At(at + ".secrets.sasToken")
	}
	return nil
}

func secretLabel(r *resource.Resource) string { return "datastore secret " + r.ID.Key() }

// keepSecrets seals a datastore's secret. A PUT that names none, such as an
// echo of what was shown, keeps the one there is; the default datastore needs
// none, as the workspace can read its account's key.
func (s *Service) keepSecrets(d *resource.Draft, next, prev datastore) (json.RawMessage, error) {
	plain := ""
	if given := next.Credentials.Secrets; given != nil {
		plain = map[string]string{credentialKey: given.Key, credentialSAS: given.SAS}[next.Credentials.Type]
	}
	same := d.Prev != nil && prev.Credentials != nil && prev.Credentials.Type == next.Credentials.Type
	switch {
	case next.Credentials.Type == credentialNone:
		return nil, nil
	case plain != "":
		sealed, err := s.Sealer.Seal(secretLabel(d.Next), []byte(plain))
		if err != nil {
			return nil, err
		}
		return json.Marshal(sealedSecret{Secret: sealed})
	case same && next.AccountName == prev.AccountName:
		return d.Prev.Private, nil
	case next.IsDefault && (next.Credentials.Type == credentialKey || same && next.Credentials.Type == credentialSAS):
		return nil, nil
	}
	return nil, fault.E(fault.Invalid, "ValidationError", "Credentials of the type %s need their secret: credentials.secrets with secretsType and key or sasToken.", next.Credentials.Type).At("properties.credentials.secrets")
}

// listSecrets gives what a client uploads with: a signature where it says that
// it understands expiry, else the account's key (older clients read only that).
func (s *Service) listSecrets(ctx context.Context, call resource.Call) (any, error) {
	var asked struct {
		Expirable *bool `json:"expirableSecret"`
		Hours     int   `json:"expireAfterHours"`
	}
	if err := call.DecodeBody(&asked); err != nil {
		return nil, err
	}
	if asked.Hours < 0 || asked.Hours > 24*7 {
		return nil, fault.E(fault.Invalid, "ValidationError", "expireAfterHours is 1 to 168, not %d.", asked.Hours).At("expireAfterHours")
	}
	var d datastore
	if err := call.Resource.Decode(&d); err != nil {
		return nil, err
	}
	if d.Credentials.Type == credentialNone {
		return nil, fault.E(fault.Invalid, "UserError", "The datastore '%s' has no credentials (credentialsType None): use a token of your own identity for https://storage.azure.com.", call.Resource.ID.Name())
	}
	key, err := s.datastoreSecret(call.Resource)
	if err != nil {
		return nil, err
	}
	life := time.Duration(max(asked.Hours, 1)) * time.Hour
	if key.IsZero() {
		return s.ownSecrets(ctx, call.Resource, d, asked.Expirable != nil && *asked.Expirable, life)
	}
	if d.Credentials.Type == credentialSAS {
		return map[string]any{"secretsType": credentialSAS, "sasToken": key.Reveal()}, nil
	}
	if asked.Expirable == nil || !*asked.Expirable {
		return map[string]any{"secretsType": credentialKey, "key": key.Reveal()}, nil
	}
	token, err := s.Storage.KeySAS(d.AccountName, d.ContainerName, key, uploadPermissions, s.Now().Add(life))
	return map[string]any{"secretsType": credentialSAS, "sasToken": token}, err
}

// uploadPermissions are those of a signature for a datastore.
const uploadPermissions = "racwdl"

// ownSecrets are those of a datastore that none were given for: it lies in the
// workspace's own account.
func (s *Service) ownSecrets(ctx context.Context, r resource.Resource, d datastore, expirable bool, life time.Duration) (any, error) {
	ws, err := s.Tree.Get(ctx, workspaceOf(r.ID))
	if err != nil {
		return nil, err
	}
	if d.Credentials.Type == credentialSAS || expirable {
		token, err := s.sign(ctx, ws, d.ContainerName, uploadPermissions, life)
		return map[string]any{"secretsType": credentialSAS, "sasToken": token}, err
	}
	account, _, err := attached(&ws)
	if err != nil {
		return nil, err
	}
	key, err := s.Storage.AccountKey(ctx, account)
	return map[string]any{"secretsType": credentialKey, "key": key.Reveal()}, err
}

// datastoreSecret opens the secret that was given; it is empty where none was.
func (s *Service) datastoreSecret(r resource.Resource) (secret.String, error) {
	var kept sealedSecret
	if len(r.Private) > 0 {
		if err := json.Unmarshal(r.Private, &kept); err != nil {
			return secret.String{}, err
		}
	}
	if len(kept.Secret) == 0 {
		return secret.String{}, nil
	}
	plain, err := s.Sealer.Open(secretLabel(&r), kept.Secret)
	return secret.New(string(plain)), err
}
