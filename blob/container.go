package blob

import (
	"context"
	"errors"
	"strings"

	"lapis/fault"
	"lapis/store"
)

func containerKey(space Space, name string) string { return string(space) + "/" + name }

func isFault(err error) bool {
	var e *fault.Error
	return errors.As(err, &e)
}

// findContainer returns the record of a container, or ContainerNotFound.
func findContainer(r store.Reader, space Space, name string) (containerRecord, error) {
	e, err := containers.Get(r, containerKey(space, name))
	if errors.Is(err, store.ErrNotFound) {
		return containerRecord{}, fault.E(fault.NotFound, "ContainerNotFound", "The specified container does not exist.").At(name)
	}
	return e.Value, err
}

// CreateContainer makes an empty container; ContainerAlreadyExists if there is one.
func (s *Service) CreateContainer(ctx context.Context, space Space, name string, meta Metadata) (Container, error) {
	if err := errors.Join(CheckContainerName(name), meta.Check()); err != nil {
		return Container{}, fault.From(err)
	}
	uid, err := s.draw(10)
	if err != nil {
		return Container{}, failed(err, "creating the container")
	}
	etag, at := s.stamp("")
	rec := containerRecord{UID: uid, Container: Container{Name: name, ETag: etag, Created: at, Modified: at, Metadata: meta}}
	err = s.records.Update(ctx, func(tx store.Tx) error {
		_, err := containers.Put(tx, containerKey(space, name), rec, store.Absent)
		return err
	})
	if errors.Is(err, store.ErrConflict) {
		return Container{}, fault.E(fault.Conflict, "ContainerAlreadyExists", "The specified container already exists.").At(name)
	}
	return rec.Container, failed(err, "creating the container")
}

// Container returns a container.
func (s *Service) Container(ctx context.Context, space Space, name string) (Container, error) {
	var rec containerRecord
	err := s.records.View(ctx, func(r store.Reader) (err error) {
		rec, err = findContainer(r, space, name)
		return err
	})
	return rec.Container, failed(err, "reading the container")
}

// SetContainerMetadata replaces all metadata of a container.
func (s *Service) SetContainerMetadata(ctx context.Context, space Space, name string, meta Metadata, cond Conditions) (Container, error) {
	if err := meta.Check(); err != nil {
		return Container{}, err
	}
	var rec containerRecord
	err := s.records.Update(ctx, func(tx store.Tx) (err error) {
		if rec, err = findContainer(tx, space, name); err != nil {
			return err
		}
		if err := cond.check(changing, state{rec.ETag, rec.Modified}); err != nil {
			return err
		}
		rec.ETag, rec.Modified = s.stamp(rec.ETag)
		rec.Metadata = meta
		_, err = containers.Put(tx, containerKey(space, name), rec, store.Any)
		return err
	})
	return rec.Container, failed(err, "changing the container's metadata")
}

// DeleteContainer removes a container and all in it. Its name is free at once;
// the bytes go soon after.
func (s *Service) DeleteContainer(ctx context.Context, space Space, name string, cond Conditions) error {
	var rec containerRecord
	err := s.records.Update(ctx, func(tx store.Tx) (err error) {
		if rec, err = findContainer(tx, space, name); err != nil {
			return err
		}
		if err := cond.check(changing, state{rec.ETag, rec.Modified}); err != nil {
			return err
		}
		return forget(tx, containerKey(space, name), rec)
	})
	if err != nil {
		return failed(err, "deleting the container")
	}
	s.later(func(ctx context.Context) { _ = s.purge(ctx, rec.UID) }) // what fails is left to Sweep
	return nil
}

// DeleteAccount removes everything that any account of this name held. Call it
// before the name is given to another account.
func (s *Service) DeleteAccount(ctx context.Context, name string) error {
	var uids []string
	err := s.records.Update(ctx, func(tx store.Tx) error {
		uids = nil
		all, err := containers.List(tx, strings.ToLower(name)+"/", "", 0)
		if err != nil {
			return err
		}
		for _, e := range all {
			if err := forget(tx, e.Key, e.Value); err != nil {
				return err
			}
			uids = append(uids, e.Value.UID)
		}
		return nil
	})
	if err != nil {
		return failed(err, "deleting the account's containers")
	}
	s.later(func(ctx context.Context) {
		for _, uid := range uids {
			_ = s.purge(ctx, uid) // what fails is left to Sweep
		}
	})
	return nil
}

// forget takes a container out of its account and notes that its blobs must go.
func forget(tx store.Tx, key string, rec containerRecord) error {
	if err := containers.Delete(tx, key, store.Any); err != nil {
		return err
	}
	_, err := gone.Put(tx, rec.UID, goneRecord{Container: key}, store.Any)
	return err
}

// ListContainers asks for a page of an account's containers.
type ListContainers struct {
	Prefix string
	Marker string // of the page before
	Max    int    // 1 to 5,000
}

// ContainerPage is part of a list; Next is the marker of the page after it, or "".
type ContainerPage struct {
	Containers []Container
	Next       string
}

// Containers lists the containers of an account in the order of their names.
func (s *Service) Containers(ctx context.Context, space Space, q ListContainers) (ContainerPage, error) {
	after, err := readMarker(q.Marker)
	if err != nil {
		return ContainerPage{}, err
	}
	if after != "" {
		after = containerKey(space, after)
	}
	var page ContainerPage
	err = s.records.View(ctx, func(r store.Reader) error {
		found, err := containers.List(r, containerKey(space, q.Prefix), after, q.Max+1)
		if err != nil {
			return err
		}
		for i, e := range found {
			if i == q.Max {
				page.Next = writeMarker(page.Containers[i-1].Name)
				break
			}
			page.Containers = append(page.Containers, e.Value.Container)
		}
		return nil
	})
	return page, failed(err, "listing containers")
}

func ignoreNotFound(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}
