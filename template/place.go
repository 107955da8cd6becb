package template

import (
	"errors"
	"fmt"
	"strings"

	"lapis/armid"
)

// applyPlace is what depends on where and when the template is deployed.
func (s *scope) applyPlace(name string, args []any, texts []string, allText bool) (any, error) {
	switch name {
	case "resourcegroup":
		tags := map[string]any{}
		for k, v := range s.place.Tags {
			tags[k] = v
		}
		return map[string]any{
			"id": s.place.group().String(), "name": s.place.Group, "type": "Microsoft.Resources/resourceGroups",
			"location": s.place.Location, "tags": tags, "properties": map[string]any{"provisioningState": "Succeeded"},
		}, exactly(args, 0)
	case "subscription":
		return map[string]any{
			"id": "/subscriptions/" + s.place.Subscription, "subscriptionId": s.place.Subscription,
			"tenantId": s.place.Tenant, "displayName": "Lapis",
		}, exactly(args, 0)
	case "newguid":
		if s.newGUID == nil {
			return nil, errors.New("'newGuid' is allowed in default values of parameters only")
		}
		if len(args) > 0 {
			return nil, errArguments
		}
		return s.newGUID()
	}
	if !allText || len(texts) == 0 {
		return nil, errArguments
	}
	switch name {
	case "resourceid":
		return s.resourceID(texts)
	case "subscriptionresourceid":
		sub := s.place.Subscription
		if !strings.Contains(texts[0], "/") {
			sub, texts = texts[0], texts[1:]
		}
		return typedID("/subscriptions/"+sub, texts)
	}
	return s.callReference(texts)
}

// resourceID is resourceId([subscription], [group], type, name…).
func (s *scope) resourceID(texts []string) (any, error) {
	sub, group := s.place.Subscription, s.place.Group
	before := 0
	for before < len(texts) && !strings.Contains(texts[before], "/") {
		before++
	}
	switch before {
	case 0:
	case 1:
		group = texts[0]
	case 2:
		sub, group = texts[0], texts[1]
	default:
		return nil, errors.New("'resourceId' takes at most a subscription and a group before the type")
	}
	return typedID("/subscriptions/"+sub+"/resourceGroups/"+group, texts[before:])
}

// typedID puts the names behind the parts of a type.
func typedID(scope string, texts []string) (any, error) {
	if len(texts) == 0 {
		return nil, errors.New("a resource type such as Microsoft.Storage/storageAccounts is missing")
	}
	id, ok := nest(scope, texts[0], texts[1:])
	if !ok {
		return nil, fmt.Errorf("the type '%s' takes %d names, not %d", texts[0], strings.Count(texts[0], "/"), len(texts)-1)
	}
	return id, nil
}

func nest(scope, typ string, names []string) (string, bool) {
	parts := strings.Split(typ, "/")
	if len(parts) != len(names)+1 || len(parts) < 2 {
		return "", false
	}
	id := scope + "/providers/" + parts[0]
	for i, part := range parts[1:] {
		id += "/" + part + "/" + names[i]
	}
	return id, true
}

// callReference is reference(id or name, [api-version], ['Full']).
func (s *scope) callReference(texts []string) (any, error) {
	if s.reference == nil {
		return nil, errors.New("'reference' is allowed in the properties of resources and in outputs only")
	}
	if len(texts) > 3 || len(texts) == 3 && !strings.EqualFold(texts[2], "Full") {
		return nil, errArguments
	}
	id, err := s.target(texts[0])
	if err != nil {
		return nil, err
	}
	return s.reference(id, len(texts) == 3)
}

func (s *scope) target(text string) (armid.ID, error) {
	if strings.HasPrefix(text, "/") {
		id, err := armid.Parse(text)
		if err != nil || !id.IsResource() {
			return id, fmt.Errorf("'%s' is not the id of a resource", text)
		}
		return id, nil
	}
	if s.resolve != nil {
		if id := s.resolve(text); !id.IsRoot() {
			return id, nil
		}
	}
	return armid.ID{}, fmt.Errorf("the template has no resource '%s' to refer to", text)
}
