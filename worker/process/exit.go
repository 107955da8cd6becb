package process

import (
	"errors"
	"fmt"
	"os/exec"
	"syscall"

	"lapis/worker"
)

// finish decides why the instance ended, tells it, and closes done.
func (i *instance) finish(waitErr error) {
	status := i.cmd.ProcessState.String()
	i.mu.Lock()
	i.err = i.cause(waitErr, status)
	err := i.err
	i.mu.Unlock()
	if err != nil {
		i.console.say("E", "lapis", "The instance ended (%s): %s", status, firstLine(err.Error()))
	}
	close(i.cancel)
	i.runtime.ended(i)
	close(i.done)
}

// cause says why the process ended. The caller holds mu.
func (i *instance) cause(waitErr error, status string) error {
	if i.failure != nil {
		i.failure.Status = status
		return i.failure
	}
	if i.stopping {
		return nil
	}
	e := &worker.ExitError{Stage: i.stage, Status: status, Traceback: i.console.tail()}
	how := describeExit(waitErr, status)
	switch i.stage {
	case worker.StageImport:
		e.Code = worker.CodeImportError
		e.Message = fmt.Sprintf("The process ended while %s was being imported: %s.", i.spec.Script, how)
	case worker.StageInit:
		e.Code = worker.CodeInitFailed
		e.Message = fmt.Sprintf("The process ended while init() of %s was running: %s.", i.spec.Script, how)
	case worker.StageRun:
		e.Code = worker.CodeExited
		e.Message = fmt.Sprintf("The process of %s ended while it served: %s.", i.spec.Script, how)
	default:
		e.Code = worker.CodeStartFailed
		e.Message = fmt.Sprintf("Python (%s) ended before it reached %s: %s. %s", i.spec.Python, i.spec.Script, how, lastLine(e.Traceback))
	}
	return e
}

// describeExit names the signal or the exit status, with what it mostly means.
func describeExit(waitErr error, status string) string {
	var exit *exec.ExitError
	if !errors.As(waitErr, &exit) {
		return status
	}
	wait, ok := exit.Sys().(syscall.WaitStatus)
	if !ok || !wait.Signaled() {
		return status
	}
	switch wait.Signal() {
	case syscall.SIGKILL:
		return status + ", as when memory runs out"
	case syscall.SIGSEGV, syscall.SIGABRT, syscall.SIGBUS:
		return status + ", a crash in native code"
	}
	return status
}
