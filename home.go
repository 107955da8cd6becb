package lapis

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/google/uuid"

	"lapis/armid"
	"lapis/client"
	"lapis/fault"
	"lapis/identity"
	"lapis/registry"
	"lapis/resource"
	"lapis/secret"
	"lapis/storageaccount"
	"lapis/store"
	"lapis/workspace"
)

// home is what the first start decides once and for all.
type home struct {
	Tenant       string `json:"tenant"`
	Subscription string `json:"subscription"`
	Owner        string `json:"owner,omitempty"` // object id
	Suffix       string `json:"suffix"`          // of the default account and registry
}

var homeTable = store.Table[home]{Name: "platform"}

const homeKey = "home"

// The names of what the first start makes.
const (
	defaultGroup     = "lapis"
	defaultWorkspace = "lapis"
)

// openHome reads the platform's identity, or draws it at first start.
func (s *Server) openHome(ctx context.Context) (home, error) {
	var h home
	err := s.store.Update(ctx, func(tx store.Tx) error {
		e, err := homeTable.Get(tx, homeKey)
		if err == nil {
			h = e.Value
			return nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if h, err = s.newHome(); err != nil {
			return err
		}
		_, err = homeTable.Put(tx, homeKey, h, store.Absent)
		return err
	})
	return h, err
}

func (s *Server) newHome() (home, error) {
	var ids [2]uuid.UUID
	for i := range ids {
		id, err := uuid.NewRandomFromReader(s.cfg.Rand)
		if err != nil {
			return home{}, err
		}
		ids[i] = id
	}
	var suffix [4]byte
	if _, err := io.ReadFull(s.cfg.Rand, suffix[:]); err != nil {
		return home{}, err
	}
	return home{Tenant: ids[0].String(), Subscription: ids[1].String(), Suffix: hex.EncodeToString(suffix[:])}, nil
}

// bootstrap makes what is missing of owner, default group, account, registry
// and workspace, and the client's file. It finds what a former start made.
func (s *Server) bootstrap(ctx context.Context) error {
	owner, password, err := s.owner(ctx)
	if err != nil {
		return err
	}
	if err := s.grantOwner(ctx, owner); err != nil {
		return err
	}
	if err := s.defaults(ctx, owner); err != nil {
		return err
	}
	bin, err := s.linkAz()
	if err != nil {
		return err
	}
	s.info = client.Info{
		Proxy: "http://" + s.listener.Addr().String(), CABundle: filepath.Join(s.cfg.DataDir, "ca-bundle.pem"),
		TenantID: s.home.Tenant, ClientID: owner.ClientID, ClientSecret: password.Reveal(), SubscriptionID: s.home.Subscription,
		ResourceGroup: defaultGroup, Workspace: defaultWorkspace, Location: s.cfg.Location,
		ConfigDir: filepath.Join(s.cfg.DataDir, "azure"), BinDir: bin, PID: os.Getpid(),
	}
	return os.MkdirAll(s.info.ConfigDir, 0o700)
}

// owner finds or makes the local owner. Its secret lies only in the client's
// file; where that is lost, the owner gets another.
func (s *Server) owner(ctx context.Context) (identity.Principal, secret.String, error) {
	if p, ok := s.directory.ByObjectID(s.home.Owner); ok {
		if last, err := client.Read(s.cfg.DataDir); err == nil {
			if _, err := s.directory.Authenticate(ctx, p.ClientID, last.ClientSecret); err == nil && last.ClientID == p.ClientID {
				return p, secret.New(last.ClientSecret), nil
			}
		}
		password, err := s.directory.ResetSecret(ctx, p.ObjectID)
		return p, password, err
	}
	p, password, err := s.directory.CreateApplication(ctx, "lapis-owner")
	if err != nil {
		return p, password, err
	}
	s.home.Owner = p.ObjectID
	err = s.store.Update(ctx, func(tx store.Tx) error {
		_, err := homeTable.Put(tx, homeKey, s.home, store.Any)
		return err
	})
	return p, password, err
}

func (s *Server) grantOwner(ctx context.Context, owner identity.Principal) error {
	return s.grant(ctx, owner.ObjectID, "Owner", armid.Subscription(s.home.Subscription))
}

// defaults makes the resources of the first start, each if it is not there.
// One that the user has deleted later comes back with the next start only if
// the workspace itself is gone.
func (s *Server) defaults(ctx context.Context, owner identity.Principal) error {
	group := armid.ResourceGroup(s.home.Subscription, defaultGroup)
	ws := group.Provider(workspace.TypeName, defaultWorkspace)
	if _, err := s.tree.Get(ctx, ws); !fault.Is(err, fault.NotFound) {
		return err
	}
	for _, made := range s.defaultResources() {
		if _, err := s.tree.Get(ctx, made.id); !fault.Is(err, fault.NotFound) {
			if err != nil {
				return err
			}
			continue
		}
		if err := s.putDefault(ctx, made, owner); err != nil {
			return err
		}
	}
	return nil
}

// defaultResource is one that the first start makes.
type defaultResource struct {
	id   armid.ID
	body map[string]any
}

// defaultResources are the default group, account, registry and workspace, in
// the order in which they are made.
func (s *Server) defaultResources() []defaultResource {
	group := armid.ResourceGroup(s.home.Subscription, defaultGroup)
	account := group.Provider(storageaccount.TypeName, "lapis"+s.home.Suffix)
	images := group.Provider(registry.TypeName, "lapis"+s.home.Suffix)
	type object = map[string]any
	return []defaultResource{
		{group, object{}},
		{account, object{"sku": object{"name": "Standard_LRS"}, "kind": "StorageV2"}},
		{images, object{"sku": object{"name": "Basic"}}},
		{group.Provider(workspace.TypeName, defaultWorkspace), object{"properties": object{
			"storageAccount": account.String(), "containerRegistry": images.String(),
		}}},
	}
}

func (s *Server) putDefault(ctx context.Context, made defaultResource, owner identity.Principal) error {
	made.body["location"] = s.cfg.Location
	body, err := json.Marshal(made.body)
	if err != nil {
		return err
	}
	caller := resource.Caller{ObjectID: owner.ObjectID, Kind: "Application"}
	if _, err := s.tree.Put(ctx, resource.Put{ID: made.id, Body: body, Caller: caller}); err != nil {
		return fmt.Errorf("making %s: %w", made.id, err)
	}
	return nil
}

// linkAz makes the folder with the link by which the binary is called as az.
func (s *Server) linkAz() (string, error) {
	bin := filepath.Join(s.cfg.DataDir, "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		return "", err
	}
	program, err := os.Executable()
	if err != nil {
		return "", err
	}
	link := filepath.Join(bin, "az")
	if now, err := os.Readlink(link); err == nil && now == program {
		return bin, nil
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return bin, os.Symlink(program, link)
}

// Version is the program's, from its build information.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "devel"
	}
	return strings.Trim(info.Main.Version, "()")
}
