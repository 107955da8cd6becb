package environment

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// Hash is the address of the environment that the spec gives with the
// interpreter: 64 hexadecimal digits over image, conda file in normal form,
// Python version, platform, mode and format. Order and layout of the conda file
// do not matter, nor does its name.
func Hash(spec Spec, in Interpreter, mode Mode) (string, error) {
	p, err := planOf(spec)
	if err != nil {
		return "", err
	}
	return p.hash(in, mode), nil
}

func (p plan) hash(in Interpreter, mode Mode) string {
	packages, pip, options := p.normal()
	text, _ := json.Marshal(struct { // strings only: cannot fail
		Format                          int
		Mode, Image, Python, Platform   string
		HostPath                        string
		Channels, Packages, Pip, Option []string
	}{
		Format: formatVersion, Mode: mode.String(), Image: p.image,
		Python: in.Version.String(), Platform: in.Platform, HostPath: hostPath(in, mode),
		Channels: p.conda.Channels, Packages: packages, Pip: pip, Option: options,
	})
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// hostPath is part of the hash in host mode only: there the packages are those
// of one installation.
func hostPath(in Interpreter, mode Mode) string {
	if mode == ModeHost {
		return in.Path
	}
	return ""
}
