package asset

import (
	"os"
	"path/filepath"
	"testing"
)

// The hashes are those of azure-ai-ml 1.35.2 for the same trees.
func TestHashesAreThoseOfTheRealClient(t *testing.T) {
	for name, tt := range map[string]struct {
		files           map[string]string
		content, upload string
	}{
		"one": {map[string]string{"score.py": "print(1)\n"},
			"a93dc4796a10e70f75ef832387fe5f7a08015479277ff78d7bac8a89c48ee331", "41fbbbd783b7ef9f2f6658c323f66f5effc2bc2776772f3aca7c8f0df342a71e"},
		"nested": {map[string]string{"score.py": "a", "Lib/B.py": "bb", "lib2/a.py": "ccc", "lib2/Z/é.txt": "dddd", "empty.txt": ""},
			"ff2b16fbc2872838abc9cf236945c87d0d3edab402658ed0c895684b6d34e380", "cc7302014cd8370d9e9f64476afa4847f93374bd88023cd170bd2c34961a5c4b"},
		"ignored": {map[string]string{"score.py": "a", "__pycache__/x.pyc": "x", "data/raw/a.csv": "1", "data/raw/keep.csv": "2", "b.log": "l", "logs/deep/c.log": "l",
			".amlignore": "__pycache__/\n*.log\n# c\ndata/raw/*\n!data/raw/keep.csv\n/top.txt\n", "top.txt": "t", "sub/top.txt": "t"},
			"e3e67a9d74766fab26f7b7878097a8b727917f435a4da013f03e0a8bb212a1f9", "d27ecff52e99239ed1d7238d177d27e53cfad47ea23b57af2e2ff128dbb44d6b"},
		"gitignored": {map[string]string{"score.py": "a", ".gitignore": "build\n**/tmp/*.bin\nfoo[0-9].txt\n?x.md\nn/**\n", "build/o.bin": "o", "a/b/tmp/k.bin": "k",
			"tmp/q.bin": "q", "foo1.txt": "1", "foox.txt": "x", "ax.md": "m", "n/m/o.txt": "z"},
			"e26b0173f17445b9de3de9eec31e170d77271e2918da1b826d54ce465f8382a8", "3d881c1e78668d8b47370a4e2e1cb06b48aec9e6c791a687ff7a46da38252ec9"},
		"case": {map[string]string{"b.txt": "1", "A.txt": "2", "a-.txt": "3", "a/x": "4", "a.b": "5"},
			"2c00379a2257881ad0c1372ba6c4f080e452fc31e528cc2bd8bb3a8bc0f31fac", "5f973f22dcf40be22360945257cd967d5f4086eed1dbf9747f3cfb716e44071b"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for file, text := range tt.files {
				path := filepath.Join(root, filepath.FromSlash(file))
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := ContentHash(root); got != tt.content || err != nil {
				t.Errorf("content %s %v, want %s", got, err, tt.content)
			}
			if got, err := UploadHash(root); got != tt.upload || err != nil {
				t.Errorf("upload %s %v, want %s", got, err, tt.upload)
			}
			if name == "one" {
				file := filepath.Join(root, "score.py")
				if got, err := ContentHash(file); got != tt.content || err != nil {
					t.Errorf("content of the file %s %v", got, err)
				}
				if got, err := UploadHash(file); got != "be8e1ccd5bbcf8736e49e2bd0fe5d827c4332a4b6c1975d480092b1fa0cc9d74" || err != nil {
					t.Errorf("upload of the file %s %v", got, err)
				}
			}
		})
	}
}

func TestAnonymousEnvironmentsAreNamedAsByTheRealClient(t *testing.T) {
	const conda = "channels:\n- conda-forge\ndependencies:\n- python=3.12\n- numpy=2.3.1\n- pip=25.1.1\n- scikit-learn=1.7.0\n- scipy=1.16.0\n- pip:\n" +
		"  - azureml-inference-server-http\n  - joblib==1.5.1\n  - azure-storage-blob==12.25.1\n  - azure-identity==1.23.0\nname: model-env\n"
	e := Environment{Image: "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest"}
	if got := e.anonymousVersion(""); got != "2071223cb1efca116cf371a107b6bfc1980973cc0487579a5a14e5fffb8cbafc" {
		t.Errorf("image alone: %s", got)
	}
	e.Conda = conda
	if got := e.anonymousVersion(""); got != "047da4707f807d00df3307babe5ce723a3b3c38930f7fc4c65bd5337547dbdd9" {
		t.Errorf("image and conda file: %s", got)
	}
}

func TestLinksInACircleEnd(t *testing.T) {
	root := t.TempDir()
	if err := os.Symlink(root, filepath.Join(root, "self")); err != nil {
		t.Skip(err)
	}
	if err := os.WriteFile(filepath.Join(root, "a"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ContentHash(root); err == nil {
		t.Error("no error")
	}
}

func TestReferencesResolveToIds(t *testing.T) {
	r := &Registrar{Workspace: "/subscriptions/S/resourceGroups/G/providers/Microsoft.MachineLearningServices/workspaces/W"}
	for ref, want := range map[string]string{
		"azureml:m:3":                            r.Workspace + "/models/m/versions/3",
		"m:3":                                    r.Workspace + "/models/m/versions/3",
		"azureml:/subscriptions/S/x":             "/subscriptions/S/x",
		"azureml://registries/a/models/m/labels": "azureml://registries/a/models/m/labels",
		"azureml:m":                              "",
		"m@other":                                "",
	} {
		got, err := r.Resolve(t.Context(), "models", ref)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q %v, want %q", ref, got, err, want)
		}
	}
	if got := r.datastoreURI("workspaceblobstore", "LocalUpload/h/model"); got != "azureml://subscriptions/S/resourcegroups/G/workspaces/W/datastores/workspaceblobstore/paths/LocalUpload/h/model" {
		t.Error(got)
	}
}

func FuzzIgnore(f *testing.F) {
	f.Add("*.log\n!/a/**/b[!x].txt\n\\#x\n[\n**", "a/b")
	f.Fuzz(func(t *testing.T, lines, name string) { parseIgnore([]byte(lines)).excludes(name) })
}
