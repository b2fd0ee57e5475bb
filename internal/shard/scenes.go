package shard

import (
	"context"
	"fmt"
	"slices"
	"time"

	"hark/internal/event"
	"hark/internal/home"
	"hark/internal/id"
	"hark/internal/problem"
	"hark/internal/records"
	"hark/internal/scope"
)

func sceneScope(verb string, scene id.Scene) scope.Scope {
	return scope.Scope(verb + ":scenes:" + scene.String())
}

// findScene returns the scene to one who may do verb (r, w, x) with it. The caller holds mu.
func (s *Shard) findScene(p scope.Principal, scene id.Scene, verb string) (*home.Scene, error) {
	if err := p.Require(sceneScope(verb, scene)); err != nil {
		return nil, err
	}
	if sc := s.scenes[scene]; sc != nil && p.Sees(sc.Location) {
		return sc, nil
	}
	return nil, problem.New(problem.NotFound, "There is no scene with the id %s on this hark.", scene).At("sceneId")
}

// Scene returns the scene, which must not be changed.
func (s *Shard) Scene(p scope.Principal, scene id.Scene) (*home.Scene, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.findScene(p, scene, "r")
}

// Scenes returns the scenes that the principal may read, oldest first.
func (s *Shard) Scenes(p scope.Principal) ([]*home.Scene, error) {
	if err := p.Require("r:scenes:$"); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []*home.Scene
	for _, sc := range s.scenes {
		if p.May(sceneScope("r", sc.ID)) && p.Sees(sc.Location) {
			list = append(list, sc)
		}
	}
	slices.SortFunc(list, func(a, b *home.Scene) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return slices.Compare(a.ID[:], b.ID[:])
	})
	return list, nil
}

// sceneEvent says what happens to a scene. The caller holds mu.
func (s *Shard) sceneEvent(sc *home.Scene, kind string) []*event.Event {
	e := event.New(event.SceneLifecycleEvent, sc.Location, s.locations[sc.Location].Mode)
	e.Scene = &event.SceneLifecycle{Kind: kind, Scene: sc.ID}
	return []*event.Event{e}
}

// CreateScene adds a scene to a location.
func (s *Shard) CreateScene(ctx context.Context, p scope.Principal, draft home.Scene) (*home.Scene, error) {
	if err := p.Require("w:scenes:*"); err != nil {
		return nil, err
	}
	sc := draft
	sc.ID, sc.CreatedBy = id.New[id.Scene](), p.Name
	sc.Created = time.Now().UTC().Truncate(time.Millisecond)
	sc.LastUpdated = sc.Created
	return &sc, s.cause(ctx, func() ([]records.Write, []*event.Event, error) {
		if s.locations[sc.Location] == nil || !p.Sees(sc.Location) {
			return nil, nil, noLocation(sc.Location)
		}
		if err := s.checkScene(&sc); err != nil {
			return nil, nil, err
		}
		s.scenes[sc.ID] = &sc
		return []records.Write{{Kind: kindScene, ID: sc.ID.String(), Value: sc}}, s.sceneEvent(&sc, event.Create), nil
	})
}

// UpdateScene replaces the scene by what change makes of a copy of it.
func (s *Shard) UpdateScene(ctx context.Context, p scope.Principal, scene id.Scene, change func(*home.Scene)) (updated *home.Scene, err error) {
	err = s.cause(ctx, func() ([]records.Write, []*event.Event, error) {
		sc, err := s.findScene(p, scene, "w")
		if err != nil {
			return nil, nil, err
		}
		changed := *sc
		change(&changed)
		if err := s.checkScene(&changed); err != nil {
			return nil, nil, err
		}
		changed.LastUpdated = time.Now().UTC().Truncate(time.Millisecond)
		s.scenes[scene], updated = &changed, &changed
		return []records.Write{{Kind: kindScene, ID: scene.String(), Value: changed}}, s.sceneEvent(&changed, event.Update), nil
	})
	return updated, err
}

// DeleteScene forgets the scene.
func (s *Shard) DeleteScene(ctx context.Context, p scope.Principal, scene id.Scene) error {
	return s.cause(ctx, func() ([]records.Write, []*event.Event, error) {
		sc, err := s.findScene(p, scene, "w")
		if err != nil {
			return nil, nil, err
		}
		delete(s.scenes, scene)
		return []records.Write{{Kind: kindScene, ID: scene.String()}}, s.sceneEvent(sc, event.Delete), nil
	})
}

// maxActions bounds a scene.
const maxActions = 100

// checkScene reports what a scene refers to that is not there. The caller holds mu.
func (s *Shard) checkScene(sc *home.Scene) error {
	l := s.locations[sc.Location]
	if sc.Name == "" || len(sc.Name) > 128 {
		return problem.Field("sceneName", "SizeError", "has %d characters; it has 1 to 128", len(sc.Name))
	}
	if len(sc.Actions) > maxActions {
		return problem.Field("actions", "SizeError", "has %d entries, the maximum is %d", len(sc.Actions), maxActions)
	}
	for i, a := range sc.Actions {
		target := fmt.Sprintf("actions[%d]", i)
		switch {
		case a.Command != nil && a.Location == nil && a.Security == nil:
			if len(a.Command.Devices) == 0 || len(a.Command.Commands) == 0 {
				return problem.Field(target+".command", "NotEmptyError", "has no devices or no commands")
			}
			for _, device := range a.Command.Devices {
				d := l.devices[device]
				if d == nil {
					return problem.Field(target+".command.devices", "ConstraintViolationError", "%s has no device with the id %s", l.home.Name, device)
				}
				if _, err := s.checkCommands(d.home, target+".command.", slices.Clone(a.Command.Commands)); err != nil {
					return err
				}
			}
		case a.Location != nil && a.Command == nil && a.Security == nil:
			if _, ok := l.home.Mode(a.Location.Mode); !ok {
				return problem.Field(target+".location.mode", "ConstraintViolationError", "%v", noMode(l.home, a.Location.Mode))
			}
		case a.Security != nil && a.Command == nil && a.Location == nil:
			if err := checkArmState(target+".security.armState", a.Security.ArmState); err != nil {
				return err
			}
		default:
			return problem.Field(target, "NotNullError", "an action has exactly one of command {devices, commands}, location {mode}, security {armState}")
		}
	}
	return nil
}

// ExecuteScene carries out the scene's actions in order, on the home's behalf: who may execute
// a scene need not be able to do by itself what it does. When one fails, the others are carried
// out all the same, and the refusal names each that failed.
func (s *Shard) ExecuteScene(ctx context.Context, p scope.Principal, scene id.Scene) error {
	var sc *home.Scene
	if err := s.commit(ctx, func() (_ []records.Write, err error) {
		if sc, err = s.findScene(p, scene, "x"); err != nil {
			return nil, err
		}
		executed := *sc
		executed.LastExecuted = time.Now().UTC().Truncate(time.Millisecond)
		s.scenes[scene] = &executed
		return []records.Write{{Kind: kindScene, ID: scene.String(), Value: executed}}, nil
	}); err != nil {
		return err
	}
	own := scope.Principal{Name: "scene " + sc.Name, Scopes: scope.All}
	var failed []problem.Detail
	attempt := func(i int, err error) {
		if err != nil {
			failed = append(failed, problem.Detail{Code: "ActionFailedError", Target: fmt.Sprintf("actions[%d]", i), Message: err.Error()})
		}
	}
	for i, a := range sc.Actions {
		switch {
		case a.Command != nil:
			for _, device := range a.Command.Devices {
				_, err := s.Execute(ctx, own, device, slices.Clone(a.Command.Commands))
				attempt(i, err)
			}
		case a.Location != nil:
			_, err := s.SetMode(ctx, own, sc.Location, a.Location.Mode)
			attempt(i, err)
		case a.Security != nil:
			attempt(i, s.SetArmState(ctx, own, sc.Location, event.ArmState{State: a.Security.ArmState}))
		}
	}
	if len(failed) > 0 {
		return problem.New(problem.Constraint, "The scene %s was executed, but %d of its actions failed: %s", sc.Name, len(failed), failed[0].Message).With(failed...)
	}
	return nil
}
