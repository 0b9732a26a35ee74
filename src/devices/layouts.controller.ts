import { Controller, Get, Header, Inject, NotFoundException, UseGuards } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { isManagementExposed, ManagementGuard } from '../http/management.js';
import { ActiveLayouts } from '../layouts/active-layouts.js';
import { IngestCounters } from '../mqtt/ingest-counters.js';
import { DeviceMessages } from './device-messages.js';

/**
 * `/layouts`: what is read, what became of it, and the last topics that nobody takes. Topics name devices, so that in production it is
 * nowhere but on a management port of its own.
 */
@Controller('layouts')
@UseGuards(ManagementGuard)
export class LayoutsController {
  private readonly hidden: boolean;

  constructor(
    @Inject(CONFIG) config: Config,
    private readonly layouts: ActiveLayouts,
    private readonly messages: DeviceMessages,
    private readonly counters: IngestCounters,
  ) {
    this.hidden = isManagementExposed(config);
  }

  @Get()
  @Header('Cache-Control', 'no-store')
  read() {
    if (this.hidden) {
      throw new NotFoundException();
    }
    const { counters, messages } = this;
    const layouts = this.layouts.current?.layouts.map(({ name, ids, routes, command, silenceMs }) => ({
      name,
      device: ids.source,
      templates: routes.map((route) => ({ name: route.name, topic: route.topic.source })),
      ...(command && { command: command.template.source }),
      ...(silenceMs !== undefined && { silenceMs }),
      messages: counters.ofLayout(name),
    })) ?? [
      {
        name: 'sluice',
        device: '{device}',
        templates: messages.routes.map(({ name, filter }) => ({
          name,
          topic: filter.replace('+', '{device}'),
        })),
        command: 'devices/{device}/commands',
        messages: counters.ofLayout('sluice'),
      },
    ];
    return {
      layouts,
      subscriptions: messages.subscriptions.map(({ filter }) => filter),
      ofNoLayout: counters.ofLayout(''),
      withoutTemplate: counters.unmatched.list,
    };
  }
}
