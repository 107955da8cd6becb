package process_test

import (
	"errors"
	"strings"
	"testing"

	"lapis/worker"
)

// withoutFlask makes flask a module that cannot be found.
const withoutFlask = "import sys; sys.modules['flask'] = None\n"

func TestRawHTTPWithoutFlaskSaysWhatToAdd(t *testing.T) {
	r := newRuntime(t)
	for name, script := range map[string]string{
		"decorator": "from azureml.contrib.services.aml_request import rawhttp\ndef init(): pass\n@rawhttp\ndef run(r): pass\n",
		"response":  "from azureml_inference_server_http.api.aml_response import AMLResponse\ndef init(): pass\ndef run(r): pass\n",
		"request":   "from azureml.contrib.services.aml_request import AMLRequest, rawhttp\ndef init(): pass\ndef run(r): pass\n",
	} {
		spec, _ := specOf(t, withoutFlask+script)
		i, err := r.Start(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		<-i.Done()
		var exit *worker.ExitError
		if !errors.As(i.Err(), &exit) || exit.Code != worker.CodeImportError || !strings.Contains(exit.Message, "Add flask to the environment's conda file") {
			t.Errorf("%s: got %v", name, i.Err())
		}
	}
}

func TestPlainScriptLoadsNothingOfTheWeb(t *testing.T) {
	spec, _ := specOf(t, `
import sys
def init(): pass
def run(d): return [name for name in ("flask", "werkzeug", "inference_schema") if name in sys.modules]
`)
	if resp := score(t, start(t, spec), post("")); string(resp.Body) != "[]" {
		t.Errorf("loaded: %s", resp.Body)
	}
}

func TestRawModulesKeepOtherNamesOfAzureMissing(t *testing.T) {
	spec, _ := specOf(t, `
from azureml.contrib.services.aml_request import *
def missing(name):
    try: __import__(name)
    except ModuleNotFoundError: return True
    return False
def init(): pass
def run(d): return [missing("azureml_nowhere"), missing("azureml.contrib.services.other")]
`)
	spec.Python = interpreter(t)
	i, err := newRuntime(t).Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-i.Ready():
	case <-i.Done():
		if strings.Contains(i.Err().Error(), "Add flask") {
			t.Skip("needs flask")
		}
		t.Fatal(i.Err())
	}
	if resp := score(t, i, post("")); string(resp.Body) != "[true, true]" {
		t.Errorf("got %s", resp.Body)
	}
}
