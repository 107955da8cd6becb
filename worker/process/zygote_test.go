package process_test

import (
	"os"
	"os/exec"
	"testing"

	"lapis/worker"
	"lapis/worker/process"
)

// forkedVariable has the tests of this package run with instances that are forked.
const forkedVariable = "LAPIS_TEST_FORKED"

// forking reports whether instances are to be forked.
func forking() bool { return os.Getenv(forkedVariable) != "" }

// warm has a runtime fork what starts next.
func warm(t testing.TB, r *process.Runtime, python string) {
	t.Helper()
	spec, console := specOf(t, "def init(): pass\ndef run(d): return d\n")
	spec.Trust, spec.Python = "test", python
	i, err := r.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	awaitReady(t, i, console)
	if err := i.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(process.Zygotes(r)) == 0 {
		t.Fatal("nothing to fork from after the first start")
	}
}

func awaitReady(t testing.TB, i worker.Instance, console *log) {
	t.Helper()
	select {
	case <-i.Ready():
	case <-i.Done():
		t.Fatalf("the instance ended: %v\n%s", i.Err(), console)
	}
}

// TestForkedInstancesKeepThePromises runs the other tests once more.
func TestForkedInstancesKeepThePromises(t *testing.T) {
	if forking() {
		t.Skip("this is the second run")
	}
	cmd := exec.Command(os.Args[0], "-test.count=1", "-test.timeout=3m")
	if testing.Verbose() {
		cmd.Args = append(cmd.Args, "-test.v")
	}
	cmd.Env = append(os.Environ(), forkedVariable+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || testing.Verbose() {
		t.Logf("%s", out)
	}
	if err != nil {
		t.Fatal(err)
	}
}
