package cloud

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"lapis/diskfile"
)

// account is what `az login` and `az account set` remember in the
// configuration folder.
type account struct {
	Credential   Credential `json:"servicePrincipal,omitzero"`
	Subscription string     `json:"subscription,omitempty"`
}

func (s *Settings) accountFile() string { return filepath.Join(s.ConfigDir, "lapis_account.json") }

func (s *Settings) account() (account, error) {
	var a account
	data, err := os.ReadFile(s.accountFile())
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(data, &a); err != nil {
		return a, fmt.Errorf("%s does not parse: %v", s.accountFile(), err)
	}
	return a, nil
}

func (s *Settings) saveAccount(change func(*account)) error {
	a, err := s.account()
	if err != nil {
		return err
	}
	change(&a)
	data, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if err := s.makeConfigDir(); err != nil {
		return err
	}
	return diskfile.Write(s.accountFile(), data, 0o600)
}

// RememberSubscription makes the subscription the one that commands use.
func (s *Settings) RememberSubscription(id string) error {
	s.Subscription = id
	return s.saveAccount(func(a *account) { a.Subscription = id })
}

// RememberLogin makes the credential the one that commands use.
func (s *Settings) RememberLogin(c Credential) error {
	s.Credential = c
	return s.saveAccount(func(a *account) { a.Credential = c })
}

// Forget takes back what RememberLogin and RememberSubscription kept, and the
// tokens.
func (s *Settings) Forget() error {
	for _, name := range []string{s.accountFile(), s.tokenFile()} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
