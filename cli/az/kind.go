package az

import (
	"context"
	"fmt"
	"net/http"

	"lapis/cli/cloud"
)

// kind is what commands must know of a kind of resource: the api-version that
// it is asked with, and how it is drawn.
type kind struct {
	version string
	draw    func(object) object
}

// place finds the path of a resource, or of the collection that a list shows.
type place func(context.Context, *Call) (*cloud.Session, string, error)

// action is what a command does.
type action = func(context.Context, *Call) (any, error)

func (k kind) show(at place) action {
	return func(ctx context.Context, c *Call) (any, error) {
		s, path, err := at(ctx, c)
		if err != nil {
			return nil, err
		}
		found, err := s.Get(ctx, path, k.version)
		if err != nil {
			return nil, err
		}
		return k.draw(found), nil
	}
}

func (k kind) list(at place) action {
	return func(ctx context.Context, c *Call) (any, error) {
		s, path, err := at(ctx, c)
		if err != nil {
			return nil, err
		}
		list, err := s.List(ctx, path, k.version, nil)
		if err != nil {
			return nil, err
		}
		return each(list, k.draw), nil
	}
}

// delete asks before it deletes; what says what is lost, with %s for --name.
func (k kind) delete(at place, what string) action {
	return func(ctx context.Context, c *Call) (any, error) {
		s, path, err := at(ctx, c)
		if err != nil {
			return nil, err
		}
		lost := fmt.Sprintf(what, c.str("name"))
		if err := c.confirm("Are you sure you want to delete " + lost + "?"); err != nil {
			return nil, err
		}
		return nil, c.finish(ctx, s, cloud.Request{Method: http.MethodDelete, Path: path, Version: k.version}, "deleting "+lost)
	}
}

// below is a collection of what is at a place.
func (at place) below(collection string) place {
	return func(ctx context.Context, c *Call) (*cloud.Session, string, error) {
		s, path, err := at(ctx, c)
		return s, path + "/" + collection, err
	}
}

// inGroup is the resource of a type that --name names in --resource-group.
func inGroup(typ string) place {
	return func(ctx context.Context, c *Call) (*cloud.Session, string, error) {
		s, sub, err := c.inSubscription(ctx)
		return s, providerPath(sub, c.str("resource-group"), typ, c.str("name")), err
	}
}

// allOf is the resources of a type in --resource-group, or in the subscription
// without it.
func allOf(typ string) place {
	return func(ctx context.Context, c *Call) (*cloud.Session, string, error) {
		s, sub, err := c.inSubscription(ctx)
		scope := subscriptionPath(sub)
		if group := c.str("resource-group"); group != "" {
			scope = groupPath(sub, group)
		}
		return s, scope + "/providers/" + typ, err
	}
}

// inSubscription returns the session and the subscription in use.
func (c *Call) inSubscription(ctx context.Context) (*cloud.Session, string, error) {
	s, err := c.Session()
	if err != nil {
		return nil, "", err
	}
	sub, err := c.subscription(ctx)
	return s, sub, err
}
