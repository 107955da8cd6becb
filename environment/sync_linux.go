package environment

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncTree makes a tree of thousands of small files durable: one call for the
// whole file system is far quicker than one a file.
func syncTree(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}
