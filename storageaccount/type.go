package storageaccount

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"lapis/armid"
	"lapis/fault"
	"lapis/resource"
)

// versions are the api-versions of the storage provider that clients ask for.
var versions = []string{
	"2015-06-15", "2016-01-01", "2016-05-01", "2016-12-01", "2017-06-01", "2017-10-01",
	"2018-02-01", "2018-03-01-preview", "2018-07-01", "2018-11-01", "2019-04-01", "2019-06-01",
	"2020-08-01-preview", "2021-01-01", "2021-02-01", "2021-04-01", "2021-06-01", "2021-08-01", "2021-09-01",
	"2022-05-01", "2022-09-01", "2023-01-01", "2023-04-01", "2023-05-01", "2024-01-01", "2025-01-01", "2025-06-01", "2025-08-01",
}

// Types are the descriptors of accounts, their blob service and its containers.
func (s *Service) Types() []resource.Type {
	return []resource.Type{s.accountType(), s.blobServiceType(), s.containerType()}
}

func (s *Service) accountType() resource.Type {
	return resource.Type{
		Name: TypeName, APIVersions: versions, Located: true, CheckName: checkName,
		Prepare: s.prepare, Remove: s.remove, Show: s.show,
		Actions: []resource.Action{
			{Name: "listKeys", Run: s.listKeys},
			{Name: "regenerateKey", Run: s.regenerateKey},
			{Name: "revokeUserDelegationKeys", Run: s.revokeDelegationKeys},
		},
	}
}

func (s *Service) prepare(ctx context.Context, d *resource.Draft) error {
	if err := checkKind(d.Next); err != nil {
		return err
	}
	if err := checkShape(d.Next); err != nil {
		return err
	}
	if d.Prev != nil {
		return nil
	}
	claimed, err := s.names().Claim(ctx, d.Next.ID.Name(), d.Next.ID)
	if err != nil {
		return err
	}
	if !claimed {
		return taken(d.Next.ID.Name())
	}
	var p private
	now := s.Tree.Now().UTC()
	for i := range p.Keys {
		k, err := s.newKey(d.Next.ID, now)
		if err != nil {
			return err
		}
		p.Keys[i] = k
	}
	kept, err := json.Marshal(p)
	d.Next.Private = kept
	return err
}

// remove deletes an account's bytes and gives its name free.
func (s *Service) remove(ctx context.Context, r resource.Resource) error {
	if err := s.Containers.DeleteAccount(ctx, r.ID.Name()); err != nil {
		return err
	}
	return s.names().Release(ctx, r.ID.Name(), r.ID)
}

func (s *Service) show(_ context.Context, r resource.Resource, shown *resource.Shown) error {
	shown.ETag, shown.SystemData = "", nil
	name := r.ID.Name()
	endpoints := map[string]string{}
	for _, service := range []string{"blob"} {
		endpoints[service] = fmt.Sprintf("https://%s.%s.core.windows.net/", name, service)
	}
	var p private
	if err := json.Unmarshal(r.Private, &p); err != nil {
		return err
	}
	known := map[string]any{
		"primaryEndpoints":         endpoints,
		"primaryLocation":          r.Location,
		"statusOfPrimary":          "available",
		"creationTime":             r.System.CreatedAt,
		"keyCreationTime":          map[string]time.Time{"key1": p.Keys[0].Created, "key2": p.Keys[1].Created},
		"supportsHttpsTrafficOnly": true,
		"encryption":               map[string]any{"keySource": "Microsoft.Storage", "services": map[string]any{}},
		"networkAcls":              map[string]any{"bypass": "AzureServices", "defaultAction": "Allow", "ipRules": []any{}, "virtualNetworkRules": []any{}},
	}
	for key, value := range known {
		if _, given := shown.Properties[key]; !given {
			shown.Properties[key] = value
		}
	}
	shown.Properties["primaryEndpoints"] = endpoints
	return nil
}

type shownKey struct {
	KeyName      string    `json:"keyName"`
	Value        string    `json:"value"`
	Permissions  string    `json:"permissions"`
	CreationTime time.Time `json:"creationTime"`
}

func (s *Service) listKeys(_ context.Context, call resource.Call) (any, error) {
	return s.shownKeys(call.Resource)
}

func (s *Service) shownKeys(r resource.Resource) (any, error) {
	account, err := s.account(r)
	if err != nil {
		return nil, err
	}
	var p private
	if err := json.Unmarshal(r.Private, &p); err != nil {
		return nil, err
	}
	keys := make([]shownKey, 0, len(account.Keys))
	for i, k := range account.Keys {
		keys = append(keys, shownKey{
			KeyName: fmt.Sprintf("key%d", i+1), Value: k.Reveal(), Permissions: "FULL", CreationTime: p.Keys[i].Created,
		})
	}
	return map[string]any{"keys": keys}, nil
}

func (s *Service) regenerateKey(ctx context.Context, call resource.Call) (any, error) {
	var body struct {
		KeyName string `json:"keyName"`
	}
	if err := call.DecodeBody(&body); err != nil {
		return nil, err
	}
	which := map[string]int{"key1": 0, "key2": 1}
	i, ok := which[strings.ToLower(body.KeyName)]
	if !ok {
		return nil, fault.E(fault.Invalid, "InvalidValuesForRequestParameters",
			"Values for request parameters are invalid: keyName. '%s' is neither key1 nor key2.", body.KeyName).At("keyName")
	}
	fresh, err := s.newKey(call.Resource.ID, s.Tree.Now().UTC())
	if err != nil {
		return nil, err
	}
	var changed resource.Resource
	err = s.Tree.Modify(ctx, call.Resource.ID, func(r *resource.Resource) error {
		var p private
		if err := json.Unmarshal(r.Private, &p); err != nil {
			return err
		}
		p.Keys[i] = fresh
		kept, err := json.Marshal(p)
		r.Private = kept
		changed = *r
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.shownKeys(changed)
}

// revokeDelegationKeys makes all user delegation keys worthless, and what was
// signed with them.
func (s *Service) revokeDelegationKeys(ctx context.Context, call resource.Call) (any, error) {
	drawn := make([]byte, 16)
	if _, err := io.ReadFull(s.Rand, drawn); err != nil {
		return nil, err
	}
	return nil, s.Tree.Modify(ctx, call.Resource.ID, func(r *resource.Resource) error {
		var p private
		if err := json.Unmarshal(r.Private, &p); err != nil {
			return err
		}
		p.Revoked = hex.EncodeToString(drawn)
		kept, err := json.Marshal(p)
		r.Private = kept
		return err
	})
}

// CheckNameAvailability answers the provider's question of that name.
func (s *Service) CheckNameAvailability(ctx context.Context, body []byte) (any, error) {
	var asked struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	if err := json.Unmarshal(body, &asked); err != nil {
		return nil, fault.E(fault.Invalid, "InvalidRequestContent", "The request needs a JSON object with name and type.")
	}
	if err := checkName(asked.Name); err != nil {
		return map[string]any{"nameAvailable": false, "reason": "AccountNameInvalid", "message": fault.From(err).Message}, nil
	}
	_, err := s.Find(ctx, asked.Name)
	switch {
	case fault.Is(err, fault.NotFound):
		return map[string]any{"nameAvailable": true}, nil
	case err != nil:
		return nil, err
	}
	return map[string]any{
		"nameAvailable": false, "reason": "AlreadyExists", "message": fault.From(taken(asked.Name)).Message,
	}, nil
}

// accountOf is the account's name in the id of something below it.
func accountOf(id armid.ID) string {
	if names := id.Names(); len(names) > 0 {
		return names[0]
	}
	return ""
}
