import {
  type CanActivate,
  type ExecutionContext,
  Inject,
  Injectable,
  NotFoundException,
} from '@nestjs/common';
import type { IncomingMessage } from 'node:http';
import { CONFIG, type Config } from '../config/config.js';
import { cameThroughManagement, isManagementSeparate } from './management.js';

/** Hides health and metrics from PORT when they have a port of their own. On the controllers, so that no spelling of a path gets past it. */
@Injectable()
export class ManagementGuard implements CanActivate {
  private readonly separate: boolean;

  constructor(@Inject(CONFIG) config: Config) {
    this.separate = isManagementSeparate(config.http);
  }

  canActivate(context: ExecutionContext): boolean {
    if (this.separate && !cameThroughManagement(context.switchToHttp().getRequest<IncomingMessage>())) {
      throw new NotFoundException();
    }
    return true;
  }
}
