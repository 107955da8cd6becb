package resource

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"lapis/armid"
	"lapis/fault"
	"lapis/operation"
)

// groupDelete is the kind of the operation that deletes a resource group.
const groupDelete = "resourceGroup.delete"

var groupName = regexp.MustCompile(`^[-\w._()]{0,89}[-\w_()]$`)

// Group is the descriptor of resource groups. Deleting one deletes what is in it.
func Group() Type {
	return Type{
		Name: GroupType,
		APIVersions: []string{
			"2015-11-01", "2016-02-01", "2016-09-01", "2017-05-10", "2018-02-01", "2018-05-01", "2019-03-01", "2019-05-01",
			"2019-05-10", "2019-07-01", "2019-08-01", "2019-10-01", "2020-06-01", "2020-08-01", "2020-10-01", "2021-01-01", "2021-04-01",
			"2022-09-01", "2023-07-01", "2024-03-01", "2024-07-01", "2024-11-01", "2025-03-01", "2025-04-01",
		},
		Located: true,
		CheckName: func(name string) error {
			if groupName.MatchString(name) {
				return nil
			}
			return fault.E(fault.Invalid, "InvalidResourceGroup",
				"The resource group name '%s' is not valid: 1 to 90 letters, digits, '-', '_', '.', '(' and ')', not ending in '.'.", name).At("resourceGroupName")
		},
		Show: func(_ context.Context, _ Resource, shown *Shown) error {
			shown.SystemData = nil // Azure tells it of every type but this one
			return nil
		},
		DeleteOperation: groupDelete,
	}
}

// GroupKinds are the operations of resource groups.
func (t *Tree) GroupKinds() map[string]operation.Kind {
	return map[string]operation.Kind{groupDelete: t.DeleteKind(t.emptyGroup)}
}

// emptyGroup deletes everything in a group, in rounds, as some resources can
// only go after others.
func (t *Tree) emptyGroup(ctx context.Context, run *operation.Run) error {
	group, err := armid.Parse(run.Target)
	if err != nil {
		return err
	}
	caller := Caller{ObjectID: run.Caller}
	for round := 0; ; round++ {
		left, failed := t.deleteRound(ctx, group, caller)
		if left == 0 {
			return nil
		}
		if failed != nil && round == 2 {
			return failed
		}
		run.Report(fmt.Sprintf("%d resources left", left))
	}
}

func (t *Tree) deleteRound(ctx context.Context, group armid.ID, caller Caller) (left int, failed error) {
	for _, typ := range t.Types() {
		if typ.Virtual != nil || typ.ParentType() != "" || typ.Name == GroupType {
			continue
		}
		found, err := t.List(ctx, typ.Name, group)
		if err != nil {
			return 1, err
		}
		for _, r := range found {
			op, err := t.Delete(ctx, r.ID, caller)
			if err == nil && op != nil {
				err = t.Operations.Wait(ctx, op.ID)
			}
			if err != nil && !fault.Is(err, fault.NotFound) {
				left, failed = left+1, errors.Join(failed, err)
			}
		}
	}
	return left, failed
}
