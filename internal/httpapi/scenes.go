package httpapi

import (
	"hark/internal/home"
	"hark/internal/id"
)

// sceneView is a scene as the API shows it (reference 7.6), with dates in milliseconds. Its
// actions are hark's own: the platform shows none.
type sceneView struct {
	SceneID      id.Scene      `json:"sceneId"`
	Name         string        `json:"sceneName"`
	Icon         string        `json:"sceneIcon"`
	Color        string        `json:"sceneColor"`
	LocationID   id.Location   `json:"locationId"`
	CreatedBy    string        `json:"createdBy"`
	Created      int64         `json:"createdDate"`
	LastUpdated  int64         `json:"lastUpdatedDate"`
	LastExecuted *int64        `json:"lastExecutedDate"`
	Editable     bool          `json:"editable"`
	APIVersion   string        `json:"apiVersion"`
	Actions      []home.Action `json:"actions,omitempty"`
}

func viewScene(s *home.Scene) sceneView {
	v := sceneView{
		SceneID: s.ID, Name: s.Name, Icon: s.Icon, Color: s.Color, LocationID: s.Location, CreatedBy: s.CreatedBy,
		Created: s.Created.UnixMilli(), LastUpdated: s.LastUpdated.UnixMilli(), Editable: true, APIVersion: "20200501", Actions: s.Actions,
	}
	if !s.LastExecuted.IsZero() {
		at := s.LastExecuted.UnixMilli()
		v.LastExecuted = &at
	}
	return v
}

// sceneBody is a scene as requests bring it; what is absent stays as it is.
type sceneBody struct {
	LocationID id.Location    `json:"locationId"`
	Name       *string        `json:"sceneName"`
	Icon       *string        `json:"sceneIcon"`
	Color      *string        `json:"sceneColor"`
	Actions    *[]home.Action `json:"actions"`
}

func (b *sceneBody) apply(s *home.Scene) {
	set(&s.Name, b.Name)
	set(&s.Icon, b.Icon)
	set(&s.Color, b.Color)
	set(&s.Actions, b.Actions)
}

func (c *call) listScenes() (any, error) {
	list, err := c.shard.Scenes(c.principal)
	if err != nil {
		return nil, err
	}
	locations := c.list("locationId")
	var kept []*home.Scene
	for _, s := range list {
		if wanted(locations, s.Location.String()) {
			kept = append(kept, s)
		}
	}
	return paged(c, kept, func(s *home.Scene) any { return viewScene(s) })
}

func (c *call) createScene() (any, error) {
	var body sceneBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	draft := home.Scene{Location: body.LocationID}
	body.apply(&draft)
	s, err := c.shard.CreateScene(c.Context(), c.principal, draft)
	if err != nil {
		return nil, err
	}
	return viewScene(s), nil
}

func (c *call) sceneID() (id.Scene, error) { return pathID[id.Scene](c, "scene") }

func (c *call) getScene() (any, error) {
	scene, err := c.sceneID()
	if err != nil {
		return nil, err
	}
	s, err := c.shard.Scene(c.principal, scene)
	if err != nil {
		return nil, err
	}
	return viewScene(s), nil
}

func (c *call) updateScene() (any, error) {
	scene, err := c.sceneID()
	if err != nil {
		return nil, err
	}
	var body sceneBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	s, err := c.shard.UpdateScene(c.Context(), c.principal, scene, body.apply)
	if err != nil {
		return nil, err
	}
	return viewScene(s), nil
}

func (c *call) deleteScene() (any, error) {
	scene, err := c.sceneID()
	if err != nil {
		return nil, err
	}
	return nothing{}, c.shard.DeleteScene(c.Context(), c.principal, scene)
}

func (c *call) executeScene() (any, error) {
	scene, err := c.sceneID()
	if err != nil {
		return nil, err
	}
	return map[string]string{"status": "success"}, c.shard.ExecuteScene(c.Context(), c.principal, scene)
}
