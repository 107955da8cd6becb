package lapis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"lapis/client"
	"lapis/content/disk"
	"lapis/diskfile"
	"lapis/gateway"
	"lapis/identity"
	"lapis/rbac"
	"lapis/secret"
	"lapis/store/sqlite"
	"lapis/token"
)

// openFolder makes the data folder and takes it for this process alone.
func (s *Server) openFolder(context.Context) error {
	dir := s.cfg.DataDir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the data folder: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return fmt.Errorf("another lapis runs on the data folder %s; stop it, or choose another folder with --data", dir)
	}
	s.lock = lock
	s.onClose(func() { _ = lock.Close() })
	return nil
}

func (s *Server) openStores(context.Context) error {
	dir := s.cfg.DataDir
	key, err := masterKey(filepath.Join(dir, "master.key"), s.cfg.Rand)
	if err != nil {
		return err
	}
	if s.sealer, err = secret.NewSealer(key, s.cfg.Rand); err != nil {
		return err
	}
	records, err := sqlite.Open(filepath.Join(dir, "lapis.db"))
	if err != nil {
		return fmt.Errorf("opening the store: %w", err)
	}
	s.store = records
	s.onClose(func() { _ = records.Close() })
	bytes, err := disk.Open(filepath.Join(dir, "content"))
	if err != nil {
		return fmt.Errorf("opening the content folder: %w", err)
	}
	s.content = bytes
	s.onClose(func() { _ = bytes.Close() })
	return nil
}

// masterKey reads the key that seals all others, made at first start. Without
// it nothing sealed opens again, so it is never made anew beside a store.
func masterKey(path string, random io.Reader) ([]byte, error) {
	key, err := os.ReadFile(path)
	if err == nil {
		if len(key) != secret.KeySize {
			return nil, fmt.Errorf("the master key %s is damaged: %d bytes instead of %d; restore it from a copy", path, len(key), secret.KeySize)
		}
		return key, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(path), "lapis.db")); err == nil {
		return nil, fmt.Errorf("the master key %s is missing, and the store beside it needs it; restore it from a copy, or begin with an empty data folder", path)
	}
	key = make([]byte, secret.KeySize)
	if _, err := io.ReadFull(random, key); err != nil {
		return nil, err
	}
	return key, diskfile.Write(path, key, 0o600)
}

// openIdentity opens who there is, what they may do, and what proves it.
func (s *Server) openIdentity(ctx context.Context) error {
	var err error
	if s.home, err = s.openHome(ctx); err != nil {
		return err
	}
	s.directory, err = identity.Open(ctx, identity.Config{Store: s.store, TenantID: s.home.Tenant, Rand: s.cfg.Rand, Now: s.cfg.Now})
	if err != nil {
		return err
	}
	s.issuer, err = token.Open(ctx, token.Config{
		Store: s.store, Sealer: s.sealer, TenantID: s.home.Tenant, Alive: s.directory.Alive,
		Now: s.cfg.Now, Rand: s.cfg.Rand, Log: s.cfg.Log,
	})
	if err != nil {
		return err
	}
	s.onClose(s.issuer.Close)
	s.roles, err = rbac.Open(ctx, rbac.Config{
		Store: s.store, Now: s.cfg.Now, Rand: s.cfg.Rand, OnDenied: s.denied, OnDecided: s.decided,
		PrincipalExists: func(id string) (string, bool) {
			p, ok := s.directory.ByObjectID(id)
			return p.Kind.PrincipalType(), ok
		},
	})
	return err
}

// openListener binds the port and makes the certificates.
func (s *Server) openListener(context.Context) error {
	dir := filepath.Join(s.cfg.DataDir, "ca")
	err := os.MkdirAll(dir, 0o700)
	if err != nil {
		return err
	}
	if s.ca, err = gateway.LoadOrCreateCA(dir, nil, nil, s.cfg.Suffix); err != nil {
		return fmt.Errorf("opening the certificate authority: %w", err)
	}
	if s.listener, err = s.listen(); err != nil {
		return err
	}
	listener := s.listener
	s.onClose(func() { _ = listener.Close() })
	return nil
}

// listen takes the address asked for; else the port of the last run, so that
// shells and clients set up for it go on; else a free one.
func (s *Server) listen() (net.Listener, error) {
	if s.cfg.Listen != "" {
		l, err := net.Listen("tcp", s.cfg.Listen)
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("the address %s is in use by another program; choose another with --listen, or leave it out for a free port", s.cfg.Listen)
		}
		return l, err
	}
	if last, err := client.Read(s.cfg.DataDir); err == nil {
		if u, err := url.Parse(last.Proxy); err == nil && strings.HasPrefix(u.Host, "127.0.0.1:") {
			if l, err := net.Listen("tcp", u.Host); err == nil {
				return l, nil
			}
		}
	}
	return net.Listen("tcp", "127.0.0.1:0")
}
