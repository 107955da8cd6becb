package process

import (
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"lapis/socket"
	"lapis/worker"
)

// forkTime bounds a fork; a fresh start is made after that.
const forkTime = 5 * time.Second

// cradle is what a process is born into, and an instance keeps: its mark, the
// sockets and the console that link it to us, and the groups that limit it.
type cradle struct {
	mark    string
	data    net.Conn
	control net.Conn
	out     *os.File    // what the process prints
	ends    [3]*os.File // data, control, console: the process's own
	group   *group
}

// newCradle makes one.
func (r *Runtime) newCradle(name string, limits worker.Limits) (c *cradle, err error) {
	c = &cradle{}
	if c.mark, err = r.newMark(name); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.handOver()
			r.clear(c)
		}
	}()
	if c.data, c.ends[0], err = socketPair("data"); err != nil {
		return nil, err
	}
	c.data = socket.Quick(c.data)
	if c.control, c.ends[1], err = socketPair("control"); err != nil {
		return nil, err
	}
	if c.out, c.ends[2], err = os.Pipe(); err != nil {
		return nil, err
	}
	c.group, err = r.groups.make(c.mark, limits)
	return c, err
}

// handOver closes the process's ends, which it has by now.
func (c *cradle) handOver() {
	for n, file := range c.ends {
		if file != nil {
			file.Close()
			c.ends[n] = nil
		}
	}
}

// hangUp closes our ends. A process that was told nothing ends by that.
func (c *cradle) hangUp() {
	for _, conn := range []net.Conn{c.data, c.control} {
		if conn != nil {
			conn.Close()
		}
	}
	if c.out != nil {
		c.out.Close()
	}
}

// clear removes a cradle that has become no instance's.
func (r *Runtime) clear(c *cradle) {
	c.hangUp()
	if c.group != nil {
		c.group.close()
	}
	r.removeMark(c.mark)
}

// tell makes an instance of a process that was forked: until then it has no
// script, no environment of the instance's, and runs nobody's code. It returns
// when the process has heard it.
func (b birth) tell() error {
	payload := strings.Join(append([]string{b.spec.Dir, b.spec.Script}, b.environ()...), "\x00")
	_ = b.control.SetDeadline(time.Now().Add(forkTime))
	defer func() { _ = b.control.SetDeadline(time.Time{}) }()
	if _, err := b.control.Write(append(appendHead(nil, kindBecome, 0, len(payload)), payload...)); err != nil {
		return err
	}
	heard, err := readFrame(b.control, 0) // which reads no byte of what follows
	if err == nil && heard.kind != kindBecome {
		err = fmt.Errorf("%w: kind %d", errFrame, heard.kind)
	}
	return err
}
