package workspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/goccy/go-yaml"

	"lapis/armid"
	"lapis/fault"
)

// maxMLmodel bounds the file that describes an MLflow model.
const maxMLmodel = 1 << 20

// readFlavors recognises an MLflow model by its file MLmodel, and shows the
// flavors that the file lists. Only the workspace's own account is looked
// into: what lies elsewhere is the callers', not the workspace's to read.
func (s *Service) readFlavors(ctx context.Context, workspace armid.ID, at Location, next map[string]any) error {
	ws, err := s.Tree.Get(ctx, workspace)
	if err != nil {
		return err
	}
	account, _, err := attached(&ws)
	if err != nil || !strings.EqualFold(account.Name(), at.Account) {
		return err
	}
	data, err := s.Storage.ReadBlob(ctx, account, at.Container, path.Join(at.Path, "MLmodel"), maxMLmodel)
	if fault.Is(err, fault.NotFound) {
		return fault.E(fault.Invalid, "ValidationError", "The folder is no MLflow model: it has no file MLmodel. Register it with the type custom_model, or upload the folder that holds MLmodel.").At("properties.modelUri")
	}
	if err != nil {
		return err
	}
	flavors, err := parseMLmodel(data)
	if err != nil {
		return fault.E(fault.Invalid, "ValidationError", "The model's file MLmodel cannot be read: %s.", err.Error()).At("properties.modelUri")
	}
	next["flavors"] = flavors
	return nil
}

type flavor struct {
	Data map[string]string `json:"data"`
}

// parseMLmodel reads the flavors of an MLmodel file (MLflow, "MLmodel file").
func parseMLmodel(data []byte) (map[string]flavor, error) {
	if bytes.ContainsRune(data, 0) {
		return nil, errors.New("it is no text")
	}
	var file struct {
		Flavors map[string]map[string]any `yaml:"flavors"`
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		line, _, _ := strings.Cut(err.Error(), "\n")
		return nil, errors.New(line)
	}
	if len(file.Flavors) == 0 {
		return nil, errors.New("it lists no flavors")
	}
	found := map[string]flavor{}
	for name, fields := range file.Flavors {
		texts := map[string]string{}
		for key, value := range fields {
			if value != nil {
				texts[key] = fmt.Sprint(value)
			}
		}
		found[name] = flavor{Data: texts}
	}
	return found, nil
}
