// SPDX-License-Identifier: BSD-3-Clause
/* Queues of commands; a command is in at most one. */
#include "devices/nvme/nvme.h"

void nvme_list_init(struct nvme_list *list)
{
	list->first = NULL;
	list->last = &list->first;
}

bool nvme_list_empty(const struct nvme_list *list)
{
	return !list->first;
}

void nvme_list_push(struct nvme_list *list, struct nvme_cmd *c)
{
	c->next = NULL;
	*list->last = c;
	list->last = &c->next;
}

void nvme_list_push_front(struct nvme_list *list, struct nvme_cmd *c)
{
	if (!list->first)
		list->last = &c->next;
	c->next = list->first;
	list->first = c;
}

struct nvme_cmd *nvme_list_pop(struct nvme_list *list)
{
	struct nvme_cmd *c = list->first;

	if (!c)
		return NULL;
	list->first = c->next;
	if (!list->first)
		list->last = &list->first;
	c->next = NULL;
	return c;
}

bool nvme_list_remove(struct nvme_list *list, struct nvme_cmd *c)
{
	struct nvme_cmd **link = &list->first;

	while (*link && *link != c)
		link = &(*link)->next;
	if (!*link)
		return false;
	*link = c->next;
	if (!c->next)
		list->last = link;
	c->next = NULL;
	return true;
}
