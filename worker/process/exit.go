package process

import (
	"fmt"
	"syscall"

	"lapis/worker"
)

// ending is how a process ended.
type ending struct {
	text   string         // such as "exit status 3"
	signal syscall.Signal // that ended it, or 0
}

// reap frees the process's id.
func (p *freshProcess) reap() ending {
	_ = p.cmd.Wait() // the state says it all
	how := ending{text: p.cmd.ProcessState.String()}
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		how.signal = status.Signal()
	}
	return how
}

// finish decides why the instance ended, tells it, and closes done.
func (i *instance) finish(how ending) {
	status := how.text
	i.mu.Lock()
	i.err = i.cause(how)
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
func (i *instance) cause(ended ending) error {
	status := ended.text
	if i.failure != nil {
		i.failure.Status = status
		return i.failure
	}
	if i.stopping {
		return nil
	}
	e := &worker.ExitError{Stage: i.stage, Status: status, Traceback: i.console.tail()}
	how := describeExit(ended)
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
func describeExit(ended ending) string {
	switch ended.signal {
	case syscall.SIGKILL:
		return ended.text + ", as when memory runs out"
	case syscall.SIGSEGV, syscall.SIGABRT, syscall.SIGBUS:
		return ended.text + ", a crash in native code"
	}
	return ended.text
}
