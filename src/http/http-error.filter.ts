import { type ArgumentsHost, Catch, type ExceptionFilter, HttpException, Logger } from '@nestjs/common';
import type { Response } from 'express';
import { STATUS_CODES } from 'node:http';

const INTERNAL_ERROR = 500;
const UNAVAILABLE = 503;

/**
 * Answers every HTTP error as `{"statusCode","message"}` with the status' standard text. The framework's text for an unknown path quotes
 * the URL, and a URL may contain a token. Readiness answers 503 with its report.
 */
@Catch()
export class HttpErrorFilter implements ExceptionFilter {
  private readonly logger = new Logger(HttpErrorFilter.name);

  catch(exception: unknown, host: ArgumentsHost): void {
    const response = host.switchToHttp().getResponse<Response>();
    const statusCode = statusOf(exception);
    if (statusCode === INTERNAL_ERROR) {
      this.logger.error('A request failed', exception);
    }
    if (response.headersSent) {
      response.end();
      return;
    }
    const isReport = exception instanceof HttpException && statusCode === UNAVAILABLE;
    response
      .status(statusCode)
      .json(
        isReport ? exception.getResponse() : { statusCode, message: STATUS_CODES[statusCode] ?? 'Error' },
      );
  }
}

/** The status of Nest's exceptions and of the errors that Express and its parts throw (a bad escape in a path is 400). */
function statusOf(exception: unknown): number {
  if (exception instanceof HttpException) {
    return exception.getStatus();
  }
  const status = (exception as { status?: unknown } | null)?.status;
  return typeof status === 'number' && status >= 400 && status < 500 ? status : INTERNAL_ERROR;
}
