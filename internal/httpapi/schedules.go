package httpapi

import (
	"hark/internal/id"
	"hark/internal/schedule"
)

// scheduleView is a schedule as the API shows it (reference 7.9).
type scheduleView struct {
	Executions     []int64         `json:"scheduledExecutions"` // milliseconds
	Name           string          `json:"name"`
	Cron           *cronView       `json:"cron,omitempty"`
	Once           *onceView       `json:"once,omitempty"`
	InstalledAppID id.InstalledApp `json:"installedAppId"`
	LocationID     id.Location     `json:"locationId"`
	UserUUID       string          `json:"userUuid"`
}

type cronView struct {
	Expression string `json:"expression"`
	Timezone   string `json:"timezone"`
}

type onceView struct {
	Time      int64 `json:"time"`
	Overwrite bool  `json:"overwrite"`
}

func (c *call) viewSchedule(s *schedule.Schedule) any {
	v := scheduleView{Executions: []int64{}, Name: s.Name, InstalledAppID: s.InstalledApp, LocationID: s.Location, UserUUID: c.directory.Account().String()}
	for _, at := range s.Due {
		v.Executions = append(v.Executions, at.UnixMilli())
	}
	if s.Kind() == schedule.Cron {
		v.Cron = &cronView{s.Expression, s.Timezone}
	} else {
		v.Once = &onceView{v.Executions[0], s.Overwrite}
	}
	return v
}

func (c *call) listSchedules() (any, error) {
	app, err := c.installedID()
	if err != nil {
		return nil, err
	}
	list, err := c.shard.Schedules(c.principal, app)
	if err != nil {
		return nil, err
	}
	return paged(c, list, c.viewSchedule)
}

func (c *call) createSchedule() (any, error) {
	app, err := c.installedID()
	if err != nil {
		return nil, err
	}
	b, err := c.bytes(maxBody)
	if err != nil {
		return nil, err
	}
	s, err := c.shard.Schedule(c.Context(), c.principal, app, b)
	if err != nil {
		return nil, err
	}
	return c.viewSchedule(s), nil
}

func (c *call) getSchedule() (any, error) {
	app, err := c.installedID()
	if err != nil {
		return nil, err
	}
	s, err := c.shard.FindSchedule(c.principal, app, c.PathValue("schedule"))
	if err != nil {
		return nil, err
	}
	return c.viewSchedule(s), nil
}

// deleteSchedules deletes the one in the path, or all. The SDK's unscheduleAll asks for one
// that is not there, so that is no fault.
func (c *call) deleteSchedules() (any, error) {
	app, err := c.installedID()
	if err != nil {
		return nil, err
	}
	n, err := c.shard.Unschedule(c.Context(), c.principal, app, c.PathValue("schedule"))
	return counted{n}, err
}
