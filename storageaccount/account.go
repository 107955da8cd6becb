// Package storageaccount owns storage accounts as resources: names that are
// unique in the whole platform, the two account keys, what an account shows.
//
// The keys are sealed in the account's record and leave it only through
// listKeys and [Service.Find]. The bytes of an account belong to package blob.
package storageaccount

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"lapis/armid"
	"lapis/fault"
	"lapis/resource"
	"lapis/secret"
)

// TypeName is the resource type.
const TypeName = "Microsoft.Storage/storageAccounts"

// Account is what the data plane needs to know of an account.
type Account struct {
	Name           string
	ID             armid.ID
	UID            string // of this incarnation
	Keys           [2]secret.String
	AllowSharedKey bool
	Delegation     secret.String // that user delegation keys are made with
	CreatedAt      time.Time
	SKU, Kind      string
}

// Config is what the service needs.
type Config struct {
	Tree   *resource.Tree
	Sealer *secret.Sealer
	Rand   io.Reader
	// Containers is the data plane's side of the account.
	Containers Containers
}

// Service keeps the accounts.
type Service struct {
	Config
	opened opened
	stop   []func()
}

// New returns the service; register its Types in the tree.
func New(cfg Config) *Service {
	s := &Service{Config: cfg}
	s.stop = []func(){cfg.Tree.Watch(TypeName, s.opened.forget), s.names().Watch(s.opened.forget)}
	return s
}

// Close ends the watch on the store.
func (s *Service) Close() {
	for _, stop := range s.stop {
		stop()
	}
}

// private is what an account's record keeps to itself.
type private struct {
	Keys [2]key `json:"keys"`
	// Revoked is drawn anew when all user delegation keys are revoked.
	Revoked string `json:"revoked,omitempty"`
}

type key struct {
	Sealed  []byte    `json:"sealed"`
	Created time.Time `json:"created"`
}

// Find returns an account by its name. A change of the account is seen by every
// Find that begins after the call that made it has returned.
func (s *Service) Find(ctx context.Context, name string) (Account, error) {
	a, changes, ok := s.opened.get(name)
	if ok {
		return a, nil
	}
	r, err := s.names().Find(ctx, name)
	if fault.Is(err, fault.NotFound) {
		return Account{}, noAccount(name)
	}
	if err != nil {
		return Account{}, err
	}
	if a, err = s.account(r); err == nil {
		s.opened.keep(name, a, changes)
	}
	return a, err
}

func noAccount(name string) error {
	return fault.E(fault.NotFound, "ResourceNotFound", "There is no storage account '%s'.", name)
}

func (s *Service) account(r resource.Resource) (Account, error) {
	var p private
	if err := json.Unmarshal(r.Private, &p); err != nil {
		return Account{}, fmt.Errorf("reading the keys of %s: %w", r.ID, err)
	}
	var props known
	if err := r.Decode(&props); err != nil {
		return Account{}, err
	}
	var sku struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal(r.SKU, &sku); err != nil {
		return Account{}, err
	}
	a := Account{
		Name: r.ID.Name(), ID: r.ID, UID: r.UID, CreatedAt: r.System.CreatedAt, SKU: sku.Name, Kind: r.Kind,
		AllowSharedKey: props.AllowSharedKeyAccess == nil || *props.AllowSharedKeyAccess,
		Delegation:     s.Sealer.Derive("user delegation keys " + r.ID.Key() + " " + r.UID + " " + p.Revoked),
	}
	for i, k := range p.Keys {
		plain, err := s.Sealer.Open(label(r.ID), k.Sealed)
		if err != nil {
			return Account{}, fmt.Errorf("opening the keys of %s: %w", r.ID, err)
		}
		a.Keys[i] = secret.New(string(plain))
	}
	return a, nil
}

func label(id armid.ID) string { return "storage account keys " + id.Key() }

// newKey draws an account key: 64 bytes, in base64, as Azure's are.
func (s *Service) newKey(id armid.ID, now time.Time) (key, error) {
	raw := make([]byte, 64)
	if _, err := io.ReadFull(s.Rand, raw); err != nil {
		return key{}, err
	}
	sealed, err := s.Sealer.Seal(label(id), []byte(base64.StdEncoding.EncodeToString(raw)))
	return key{Sealed: sealed, Created: now}, err
}

// names are those of accounts, unique in the whole platform.
func (s *Service) names() resource.Names { return s.Tree.Names("storageaccount") }

func taken(name string) error {
	return fault.E(fault.Conflict, "StorageAccountAlreadyTaken", "The storage account named %s is already taken.", name).At("name")
}

var validName = regexp.MustCompile(`^[a-z0-9]{3,24}$`)

func checkName(name string) error {
	if validName.MatchString(name) {
		return nil
	}
	return fault.E(fault.Invalid, "AccountNameInvalid",
		"%s is not a valid storage account name. Storage account name must be between 3 and 24 characters in length and use numbers and lower-case letters only.", name).At("name")
}

// known are the properties that the platform reads.
type known struct {
	AllowSharedKeyAccess *bool `json:"allowSharedKeyAccess"`
	NetworkACLs          struct {
		DefaultAction string `json:"defaultAction"`
	} `json:"networkAcls"`
	PublicNetworkAccess string `json:"publicNetworkAccess"`
}

// checkShape refuses what could not be read back, and what would be answered
// without being done.
func checkShape(r *resource.Resource) error {
	var p known
	if err := r.Decode(&p); err != nil {
		return fault.E(fault.Invalid, "InvalidRequestContent", "The properties of a storage account are not of its shape: %s.", err.Error()).At("properties")
	}
	if r.Identity != nil && !strings.EqualFold(r.Identity.Type, "None") && r.Identity.Type != "" {
		return fault.E(fault.NotImplemented, "IdentityNotSupported", "Storage accounts with an identity are not supported yet; leave 'identity' out.").At("identity")
	}
	r.Identity = nil
	// A rule that is kept and not enforced would be believed.
	if strings.EqualFold(p.NetworkACLs.DefaultAction, "Deny") {
		return fault.E(fault.NotImplemented, "NetworkRulesNotSupported", "Network rules are not supported yet; networkAcls.defaultAction can be Allow.").At("properties.networkAcls.defaultAction")
	}
	if p.PublicNetworkAccess != "" && !strings.EqualFold(p.PublicNetworkAccess, "Enabled") {
		return fault.E(fault.NotImplemented, "NetworkRulesNotSupported", "publicNetworkAccess '%s' is not supported yet; it can be Enabled.", p.PublicNetworkAccess).At("properties.publicNetworkAccess")
	}
	return nil
}

var (
	kinds = []string{"Storage", "StorageV2", "BlobStorage", "FileStorage", "BlockBlobStorage"}
	skus  = []string{
		"Standard_LRS", "Standard_GRS", "Standard_RAGRS", "Standard_ZRS", "Premium_LRS", "Premium_ZRS",
		"Standard_GZRS", "Standard_RAGZRS",
	}
)

// checkKind holds kind and sku against what Azure knows and completes them.
func checkKind(r *resource.Resource) error {
	var sku struct {
		Name string `json:"name"`
	}
	if len(r.SKU) > 0 {
		if err := json.Unmarshal(r.SKU, &sku); err != nil {
			return fault.E(fault.Invalid, "InvalidRequestContent", "The 'sku' of a storage account is an object with a name.").At("sku")
		}
	}
	if !slices.Contains(skus, sku.Name) {
		return fault.E(fault.Invalid, "InvalidValuesForRequestParameters",
			"Values for request parameters are invalid: sku. '%s' is none of %s.", sku.Name, strings.Join(skus, ", ")).At("sku.name")
	}
	if r.Kind == "" || !slices.Contains(kinds, r.Kind) {
		return fault.E(fault.Invalid, "InvalidValuesForRequestParameters",
			"Values for request parameters are invalid: kind. '%s' is none of %s.", r.Kind, strings.Join(kinds, ", ")).At("kind")
	}
	tier, _, _ := strings.Cut(sku.Name, "_")
	full, err := json.Marshal(map[string]string{"name": sku.Name, "tier": tier})
	r.SKU = full
	return err
}
